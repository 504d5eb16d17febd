"""Second moments of what each matrix of a model reads of some records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError
from olvido.tasks import Example, Task
from olvido.tasks.blocks import evaluating

Inputs = Callable[[Any, Tensor, Tensor | None], Tensor]
"""From a layer, what it is called with and the attention mask [R, T], or None: the inputs of its
matrix, a row each [N, I]; of an embedding the rows that it looks up [N]."""


@dataclass(frozen=True)
class Reader:
    """The layers that read by one matrix.

    Attributes:
        inputs: finds what they multiply by it.
        layers: several where one matrix is used in several places.
        width: length of an input; of an embedding, its number of rows.
        rows: whether its inputs look up rows, as of an embedding.
        turned: whether the matrix is stored with the inputs first.
    """

    inputs: Inputs
    layers: list[Any] = field(default_factory=list)
    width: int = 0
    rows: bool = False
    turned: bool = False

    @property
    def size(self) -> int:
        """Numbers of its second moments."""
        return self.width if self.rows else self.width**2


def readers(model: Module) -> dict[str, Reader]:
    """The reader of each trainable matrix, by the parameter's name.

    A matrix that is an embedding and the head too is read as an embedding.

    Raises:
        InputError: a trainable parameter multiplies something that cannot be seen.
    """
    own = {id(p): n for n, p in model.named_parameters() if p.requires_grad and p.dim() > 1}
    found: dict[str, Reader] = {}
    for layer in model.modules():
        name = own.get(id(getattr(layer, "weight", None)))
        made = None if name is None else _reader(layer)
        if name is None or made is None:
            continue
        if name not in found or (made.rows and not found[name].rows):
            found[name] = made
        if made.rows == found[name].rows:
            found[name].layers.append(layer)
    if odd := [name for name in own.values() if name not in found]:
        raise InputError(
            f"the inputs of {odd[0]!r} cannot be seen, and {len(odd) - 1} more such: expected "
            "linear layers, embeddings and plain convolutions of pictures. Take arithmetic or "
            "redistil, which need no inputs"
        )
    return found


def _reader(layer: Any) -> Reader | None:
    if isinstance(layer, torch.nn.Embedding):
        return Reader(_looked_up, width=layer.num_embeddings, rows=True)
    if isinstance(layer, torch.nn.Linear):
        return Reader(_multiplied, width=layer.in_features)
    if type(layer).__name__ == "Conv1D":
        return Reader(_multiplied, width=layer.weight.shape[0], turned=True)
    plain = isinstance(layer, torch.nn.Conv2d) and layer.groups == 1
    if plain and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return Reader(_patches, width=layer.weight[0].numel())
    return None


def _looked_up(layer: Any, given: Tensor, mask: Tensor | None) -> Tensor:
    # A table of positions is looked up once for all records.
    if mask is not None and given.shape[1:] == mask.shape[1:]:
        return given.expand_as(mask)[mask]
    return given.flatten()


def _multiplied(layer: Any, given: Tensor, mask: Tensor | None) -> Tensor:
    # A head gets the states before answers alone, and a pooler one of each record.
    if mask is not None and given.dim() == 3 and given.shape[:2] == mask.shape:
        return given[mask]
    return given.flatten(0, -2)


def _patches(layer: Any, given: Tensor, mask: Tensor | None) -> Tensor:
    found = F.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return found.transpose(1, 2).flatten(0, 1)


def moments(
    model: Module,
    records: Sequence[Example],
    task: Task,
    found: Mapping[str, Reader],
    size: int,
) -> dict[str, Tensor]:
    """The mean of x x' over the inputs x of each matrix, by its name, in float64.

    Padding is left out. Of an embedding, whose inputs are one-hot, only the diagonal is kept: the
    share of each row among all that was looked up.

    Args:
        model: left unchanged; in evaluation mode for it.
        records: what it reads.
        task: makes the batches.
        found: the matrices, as `readers` gives them for this model.
        size: records a pass.

    Raises:
        InputError: the model does not call one of the layers.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    masks: list[Tensor] = []

    def add(name: str, reader: Reader, layer: Module, args: tuple[Any, ...]) -> None:
        inputs = reader.inputs(layer, args[0], masks[-1] if masks else None)
        if reader.rows:
            part = torch.bincount(inputs, minlength=reader.width).double()
        else:
            part = inputs.double()
            part = part.T @ part
        sums[name] = sums[name].add_(part) if name in sums else part
        counts[name] = counts.get(name, 0) + len(inputs)

    def mask(_layer: Module, _args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = named.get("attention_mask")
        if isinstance(given, Tensor) and given.dim() == 2:
            masks.append(given.bool())

    device = next(model.parameters()).device
    with torch.no_grad(), evaluating(model):
        # A task may try a model on its first batch: no hook may see that.
        task.answer_logits(model, task.collate(records[:1]).to(device))
    handles = [m.register_forward_pre_hook(mask, with_kwargs=True) for m in model.modules()]
    handles += [
        layer.register_forward_pre_hook(partial(add, name, reader))
        for name, reader in found.items()
        for layer in reader.layers
    ]
    try:
        # Where gradients may be needed a task reads every record whole, and nothing needs any here.
        with torch.enable_grad(), evaluating(model):
            for batch in task.batches(records, size):
                masks.clear()
                task.answer_logits(model, batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    if unseen := sorted(found.keys() - sums.keys()):
        raise InputError(
            f"the model does not call the layer of {unseen[0]!r}, so that its inputs cannot be "
            "seen: take arithmetic or redistil, which need none"
        )
    return {name: total / counts[name] for name, total in sums.items()}
