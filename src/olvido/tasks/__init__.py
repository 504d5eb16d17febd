"""How records become batches and losses."""

from olvido.tasks.base import Batch, Example, Task, examples
from olvido.tasks.features import prompt_features
from olvido.tasks.labels import LabelBatch, Labels
from olvido.tasks.language import Language

__all__ = [
    "Batch",
    "Example",
    "LabelBatch",
    "Labels",
    "Language",
    "Task",
    "examples",
    "prompt_features",
]
