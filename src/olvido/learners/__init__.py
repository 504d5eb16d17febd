"""Ways to train, and what each keeps so that it can forget."""

from olvido.learners.base import LEARNERS, Learner, train
from olvido.learners.loop import Progress, Watcher
from olvido.learners.recipe import RECIPES, Lora, Recipe
from olvido.learners.trace import StepLog, Trace, Trained, Untraced

__all__ = [
    "LEARNERS",
    "RECIPES",
    "Learner",
    "Lora",
    "Progress",
    "Recipe",
    "StepLog",
    "Trace",
    "Trained",
    "Untraced",
    "Watcher",
    "train",
]
