"""Rounding: what small updates pushed just out of sight comes back when weights are rounded.

Zhang et al. 2024 (arXiv 2410.16454): a forgetting that moved each weight by less than half a step
of the grid is undone by rounding to it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import LayerNorm, Module, Parameter

from olvido.errors import InputError, require_count

ROWS = 4096
"""Rows of a matrix rounded at a time, so that no second copy of a large one is ever held."""

M = TypeVar("M", bound=Module)


@torch.no_grad()
def rounded(model: M, bits: int, group: int = 64) -> M:
    """A copy of a model whose weight matrices lie on a grid of few bits.

    Round to nearest, symmetric: each `group` of weights that meet the same output has the step
    max|w| / (2^(bits-1) - 1). Every parameter of two dimensions or more is such a matrix, those of
    embeddings and adapters among them; biases and normalisations stay as they are. Tied weights
    stay tied. Rounding what is rounded changes nothing.

    Args:
        model: any module; not changed.
        bits: of a weight, 2 to 8.
        group: weights that share a step, counted along the input dimension; the last group of a row
            may be shorter.

    Raises:
        InputError: another number of bits, an empty group, or a model without a weight matrix.

    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[7.0, 3.4, -0.6]])
    >>> rounded(layer, 4).weight.tolist()
    [[7.0, 3.0, -1.0]]
    """
    if not 2 <= bits <= 8:
        raise InputError(f"bits must lie between 2 and 8, got {bits}")
    require_count("group", group)
    twin = copy.deepcopy(model)
    found = False
    for matrix in _matrices(twin):
        found = True
        for start in range(0, len(matrix), ROWS):
            rows = matrix[start : start + ROWS]
            rows.copy_(_on_grid(rows, bits, group))
    if not found:
        raise InputError(
            f"{type(model).__name__} has no weight matrix to round: give a model with parameters "
            "of two dimensions or more"
        )
    return twin


def _matrices(model: Module) -> Iterator[Tensor]:
    """Each weight matrix once, as a view of shape [outputs, ...] into its own storage."""
    from transformers.pytorch_utils import Conv1D

    seen: set[int] = set()
    for module in model.modules():
        if isinstance(module, LayerNorm):
            continue
        for parameter in module.parameters(recurse=False):
            if _is_matrix(parameter) and id(parameter) not in seen:
                seen.add(id(parameter))
                # GPT-2 keeps its matrices the other way round.
                yield parameter.data.T if isinstance(module, Conv1D) else parameter.data


def _is_matrix(parameter: Parameter) -> bool:
    return parameter.dim() >= 2 and parameter.is_floating_point()


def _on_grid(rows: Tensor, bits: int, group: int) -> Tensor:
    """The nearest points of each group's grid. Same shape and type."""
    top = 2 ** (bits - 1) - 1
    # In float64 the largest weight of a group comes back to its own bits, so that the grid of a
    # rounded group is that group's grid again.
    flat = rows.reshape(len(rows), -1).double()
    width = flat.shape[1]
    padded = torch.nn.functional.pad(flat, (0, -width % group)).view(len(rows), -1, group)
    largest = padded.abs().amax(-1, keepdim=True)
    # A group of zeros has no step, and stays.
    steps = torch.where(largest > 0, padded * top / largest, padded).round()
    grid = steps * largest / top
    return grid.view(len(rows), -1)[:, :width].reshape(rows.shape).to(rows.dtype)
