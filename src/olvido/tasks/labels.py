"""Labels: an array and the name of its class, for any module that maps arrays to class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from olvido.data.arrays.pictures import as_pixels
from olvido.data.arrays.values import array_content, read_array
from olvido.errors import InputError, ParameterName
from olvido.models.classifiers.networks import Scorer
from olvido.tasks.base import Example
from olvido.tasks.blocks import evaluating


@dataclass(frozen=True)
class LabelBatch:
    """Records prepared for one forward pass.

    Attributes:
        ids: the records' ids, in row order; "" for a blank row. [B]
        inputs: float32. [B, ...]
        targets: the index of each record's class. [B]
    """

    ids: tuple[str, ...]
    inputs: Tensor
    targets: Tensor

    @property
    def cost(self) -> int:
        """Records of one pass over the batch."""
        return len(self.ids)

    def to(self, device: torch.device | str) -> LabelBatch:
        """The batch on another device."""
        return LabelBatch(self.ids, self.inputs.to(device), self.targets.to(device))


@contextmanager
def _normalisable(model: Module, batch: LabelBatch) -> Iterator[None]:
    """Let batch normalisation use its running statistics for a batch with a single record.

    One record has no variance; torch refuses to normalise by it.
    """
    alone = len(batch.ids) == 1
    found = (
        [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training] if alone else []
    )
    for layer in found:
        layer.eval()
    try:
        yield
    finally:
        for layer in found:
            layer.train()


def _inner(model: Module) -> Module:
    return model.inner if isinstance(model, Scorer) else model


def _asked(model: Module, batch: LabelBatch) -> Any:
    """The module's output for a batch.

    Raises:
        InputError: the module cannot take such inputs.
    """
    try:
        with _normalisable(model, batch):
            return model(batch.inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        # Normalisation without running statistics fails for a single record.
        raise InputError(
            f"the module cannot take inputs {list(batch.inputs.shape)} ({error}): pictures have "
            "their channels first, [channels, height, width]; what normalises by the inputs "
            "needs more than one number for each channel"
        ) from error


class Labels:
    """How arrays with a class become batches and losses.

    Inputs reach the module as float32: uint8 divided by 255, anything else unchanged. They are not
    normalised by a mean or spread of the data: those would carry forgotten data into every model
    trained after. Constants that are not computed from the data belong into the module.

    Args:
        classes: their names, in the order of the module's outputs; or their number, then they are
            called "0", "1", ... A record's `label` is one of these names, or a number that is
            written like it.
        shape: shape of an input; None: that of the first record.

    Raises:
        InputError: fewer than two classes, or a repeated one.

    >>> from olvido.tasks import examples
    >>> task = Labels(["cat", "dog"])
    >>> batch = task.collate(examples([{"input": [0.0, 1.0, 2.0], "label": "dog"}]))
    >>> batch.inputs.shape, batch.targets.tolist()
    (torch.Size([1, 3]), [1])
    """

    name: ClassVar = "labels"
    summary: ClassVar = "arrays with the names of their classes, for any module that scores classes"
    language: ClassVar = False

    def __init__(
        self, classes: Sequence[str | int] | int, *, shape: Sequence[int] | None = None
    ) -> None:
        names = range(classes) if isinstance(classes, int) else classes
        self.classes = tuple(str(name) for name in names)
        if isinstance(classes, str) or len(self.classes) < 2:
            raise InputError(f"give two classes or more, by name or by number; got {classes!r}")
        self._places = {name: place for place, name in enumerate(self.classes)}
        if len(self._places) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise InputError(f"the class {twice!r} stands twice; classes have distinct names")
        self.shape = None if shape is None else tuple(shape)
        self._bytes: bool | None = None

    @classmethod
    def of(cls, tokenizer: Any | None) -> Self:
        """Refuse: only the caller knows the classes.

        Raises:
            InputError: always; the message says how to name them.
        """
        raise InputError(
            "the task labels needs to know its classes: give an object that does, as "
            "olvido.tasks.Labels(['cat', 'dog']) (",
            ParameterName("task"),
            ")",
        )

    @classmethod
    def made(
        cls, tokenizer: Any | None, noted: Mapping[str, Any], records: Sequence[Example] = ()
    ) -> Self:
        """Labels with the noted classes and shape; else those of the records. See `Task.made`.

        Raises:
            InputError: neither names two classes.
        """
        named = noted.get("classes") or sorted({record.completion for record in records})
        task = cls(list(named), shape=noted.get("shape"))
        for record in records:
            task.read(record)
        return task

    @property
    def noted(self) -> dict[str, Any]:
        """Its name, the classes in their order, and the shape of an input."""
        shape = None if self.shape is None else list(self.shape)
        return {"task": self.name, "classes": list(self.classes), "shape": shape}

    def read(self, example: Example) -> tuple[NDArray[Any], int]:
        """The array of a record, unchanged, and the index of its class.

        Raises:
            InputError: no array, a shape or kind unlike that of the others, or an unknown class.
        """
        array = example.fields.get("input")
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"record {example.id!r} holds no array: give rows with 'input' and 'label', read "
                "by examples()"
            )
        place = self.place(example)
        self._require_alike(f"record {example.id!r}", array)
        return array, place

    def place(self, example: Example) -> int:
        """The index of a record's class. Raises InputError where it is none of the classes."""
        if example.completion not in self._places:
            known = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
            raise InputError(
                f"record {example.id!r} is labelled {example.completion!r}, which is none of the "
                f"{len(self.classes)} classes ({known})"
            )
        return self._places[example.completion]

    def _require_alike(self, what: str, array: NDArray[Any]) -> None:
        if self.shape is None:
            self.shape = array.shape
        if array.shape != self.shape:
            raise InputError(f"{what} has the shape {array.shape}, expected {self.shape}")
        scaled = array.dtype == np.uint8
        if self._bytes is None:
            self._bytes = scaled
        if scaled != self._bytes:
            raise InputError(
                f"{what} is {array.dtype} and those before it are {'not ' if scaled else ''}uint8, "
                "which alone is divided by 255: give one kind"
            )

    def content(self, example: Example) -> bytes:
        """Dtype, shape and numbers of the array, and the name of the class."""
        array, _ = self.read(example)
        return array_content(array, example.completion)

    def fingerprint(self, example: Example) -> bytes:
        """The content, and the task's classes."""
        return b"|".join([*map(str.encode, self.classes), self.content(example)])

    def width(self, example: Example) -> int:
        """Return 1: every record costs the same.

        Raises:
            InputError: the record cannot be read.
        """
        self.read(example)
        return 1

    def widths(self, examples: Sequence[Example]) -> list[int]:
        """Return 1 for each record."""
        return list(map(self.width, examples))

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> LabelBatch:
        """One batch of these records in this order; `width` is ignored.

        A blank (None) is zeros of the first class.

        Raises:
            InputError: a record cannot be read, or the shape of a blank is not known yet.
        """
        read = [None if record is None else self.read(record) for record in records]
        if self.shape is None:
            raise InputError("the shape of a blank record is not known yet: give Labels a shape")
        blank = np.zeros(self.shape, dtype=np.uint8 if self._bytes else np.float32)
        arrays = [blank if one is None else one[0] for one in read]
        return LabelBatch(
            tuple("" if record is None else record.id for record in records),
            self._ready(np.stack(arrays)),
            torch.tensor([0 if one is None else one[1] for one in read]),
        )

    def inputs(self, arrays: NDArray[Any]) -> Tensor:
        """The module's input for arrays alone, without ids and classes. [B, ...]

        Raises:
            InputError: a shape or kind unlike that of the records.
        """
        self._require_alike("the array", arrays[0])
        return self._ready(arrays)

    def _ready(self, arrays: NDArray[Any]) -> Tensor:
        inputs = torch.from_numpy(arrays.astype(np.float32))
        return inputs / 255 if self._bytes else inputs

    def batches(self, records: Sequence[Example], size: int) -> Iterator[LabelBatch]:
        """All records in batches of at most `size`, in order."""
        for start in range(0, len(records), size):
            yield self.collate(records[start : start + size])

    def logits(self, model: Module, batch: LabelBatch) -> Tensor:
        """A score for each class. [B, C]

        Raises:
            InputError: the module cannot take such inputs, or its output has another form.
        """
        found = _asked(model, batch)
        expected = (len(batch.ids), len(self.classes))
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the module must map inputs {list(batch.inputs.shape)} to one score a class "
                f"{list(expected)}, it gave {got}: change its last layer, or the classes"
            )
        return found

    def answer_logits(self, model: Module, batch: LabelBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, C], targets [B], row of each [B]: every record has one target."""
        rows = torch.arange(len(batch.ids), device=batch.targets.device)
        return self.logits(model, batch), batch.targets, rows

    def answer_states(
        self, model: Module, batch: LabelBatch
    ) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor, Tensor]:
        """The logits, with an identity head: a module's last layer is unknown."""
        logits, targets, rows = self.answer_logits(model, batch)
        return logits, lambda states: states, targets, rows

    def losses(self, model: Module, batch: LabelBatch) -> Tensor:
        """Cross-entropy in nats, one value a record, differentiable. [B]"""
        return F.cross_entropy(self.logits(model, batch).float(), batch.targets, reduction="none")

    def log_probs(self, model: Module, batch: LabelBatch) -> tuple[Tensor, Tensor]:
        """Log-probability of each record's class, and ones. [B], [B]"""
        found = -self.losses(model, batch)
        return found, torch.ones_like(found)

    def layers(self, model: Module) -> list[Module]:
        """The module's named children, in order."""
        return [child for _, child in _inner(model).named_children()]

    def answer_hidden(self, model: Module, batch: LabelBatch, layer: int) -> tuple[Tensor, Tensor]:
        """A child's output, flattened: [B, D], row of each [B]."""
        rows = torch.arange(len(batch.ids), device=batch.targets.device)
        return self.hidden(model, batch, layer).flatten(1), rows

    def hidden(self, model: Module, batch: LabelBatch, layer: int) -> Tensor:
        """The output of the module's named child number `layer`, counted from 0. [B, ...]

        Raises:
            InputError: there is no such child, or it does not return one tensor in one pass.
        """
        children = list(_inner(model).named_children())
        if not 0 <= layer < len(children):
            raise InputError(
                f"layer {layer} was asked for, the module has {len(children)} named children"
                + (f" (0 to {len(children) - 1})" if children else "")
            )
        name, child = children[layer]
        found: list[Any] = []
        handle = child.register_forward_hook(lambda _module, _inputs, out: found.append(out))
        try:
            _asked(model, batch)
        finally:
            handle.remove()
        if len(found) != 1 or not isinstance(found[0], Tensor):
            raise InputError(
                f"the child {name!r} gave {len(found)} outputs in one pass"
                + ("" if len(found) != 1 else f", a {type(found[0]).__name__}")
                + ": hidden states need exactly one tensor"
            )
        return found[0]

    @torch.no_grad()
    def generate(self, model: Module, records: Sequence[Example], size: int = 64) -> list[str]:
        """The likeliest class of each record, by name, in order."""
        device = next(model.parameters()).device
        names: list[str] = []
        for batch in self.batches(records, size):
            places = self.logits(model, batch.to(device)).argmax(-1).tolist()
            names += [self.classes[place] for place in places]
        return names

    def asked(self, given: Any) -> Example:
        """A record for an input whose class is asked for.

        Args:
            given: an array as `examples` takes one, or the bytes of a picture.

        Raises:
            InputError: it is none, or has another shape or kind than the model's inputs.
        """
        array = read_array(as_pixels(given))
        self._require_alike("the input", array)
        return Example("asked", "", self.classes[0], {"input": array})

    @torch.no_grad()
    def probabilities(self, model: Module, asked: Example) -> dict[str, float]:
        """The probability of each class for one input, by name, the likeliest first."""
        device = next(model.parameters()).device
        with evaluating(model):
            scores = self.logits(model, self.collate([asked]).to(device))[0]
        chances = torch.softmax(scores.float(), dim=-1).tolist()
        pairs = zip(self.classes, chances, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))
