"""Learners: ways to train, each with its trace for forgetting. A new one is one file and one
line."""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.learners.monolith import Monolith as Monolith
from olvido.learners.sharded import Sharded as Sharded
from olvido.learners.modular import Modular as Modular
from olvido.learners.private import Private as Private

from olvido.learners.base import train as train
from olvido.learners.family import LEARNERS as LEARNERS
from olvido.learners.family import Learner as Learner
from olvido.training.recipe import RECIPES as RECIPES
from olvido.training.recipe import Lora as Lora
from olvido.training.recipe import Recipe as Recipe
from olvido.training.loop import Progress as Progress
from olvido.training.loop import Watcher as Watcher
from olvido.learners.trained import Trained as Trained
from olvido.training.traces.declared import Declared as Declared
from olvido.training.traces.declared import Watched as Watched
from olvido.training.traces.steps import StepLog as StepLog
from olvido.training.traces.private import PrivateRun as PrivateRun
from olvido.training.private.accounting import Spent as Spent
from olvido.training.traces.replay import replayed as replayed
from olvido.training.traces.base import Edited as Edited
from olvido.training.traces.base import OfRuns as OfRuns
from olvido.training.traces.base import Placement as Placement
from olvido.training.traces.base import Trace as Trace
from olvido.training.traces.base import Untraced as Untraced
from olvido.registry import Options as Options

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
