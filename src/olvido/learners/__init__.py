"""Ways to train, and what each keeps so that it can forget."""

from olvido.learners.base import LEARNERS, Learner, make_learner, options_of, train
from olvido.learners.recipe import RECIPES, Lora, Recipe
from olvido.learners.runs.loop import Progress, Watcher
from olvido.learners.trace import Placement, StepLog, Trace, Trained, Untraced

__all__ = [
    "LEARNERS",
    "RECIPES",
    "Learner",
    "Lora",
    "Placement",
    "Progress",
    "Recipe",
    "StepLog",
    "Trace",
    "Trained",
    "Untraced",
    "Watcher",
    "make_learner",
    "options_of",
    "train",
]
