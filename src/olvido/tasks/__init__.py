"""Tasks: how records become batches and losses. A new one is one file and one line."""

# ruff: noqa: I001 - the order of the lines is the order of the tables
import typing

from olvido import registry

from olvido.tasks.language import Language as Language
from olvido.tasks.labels import Labels as Labels
from olvido.tasks.text_labels import TextLabels as TextLabels

from olvido.tasks.base import TASKS as TASKS
from olvido.tasks.batches import Batch as Batch
from olvido.tasks.base import Example as Example
from olvido.tasks.base import Task as Task
from olvido.tasks.base import alike as alike
from olvido.tasks.base import examples as examples
from olvido.tasks.base import require_for as require_for
from olvido.tasks.base import task_of as task_of
from olvido.tasks.features import prompt_features as prompt_features
from olvido.tasks.labels import LabelBatch as LabelBatch

if not typing.TYPE_CHECKING:  # "as" tells type checkers the same
    __all__ = registry.public(vars())
