"""Recovery by quantization: what the model says when its weights are stored in few bits.

Zhang et al. 2024 (arXiv 2410.16454): a forgetting that moved each weight by less than half a step
of the grid is undone by rounding to the grid.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import LayerNorm, Module, Parameter

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.scoring import Score, ScoredModel
from olvido.audits.tolerances import PROBABILITY, RECALL, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError, require_count
from olvido.tasks import Example

ROWS = 4096
"""Rows of a matrix rounded at a time, to avoid a second copy of a large one in memory."""

M = TypeVar("M", bound=Module)


@torch.no_grad()
def quantized(model: M, bits: int, group: int = 64, *, replace: bool = False) -> M:
    """A copy of a model whose weight matrices lie on a grid of few bits.

    Round to nearest, symmetric: each `group` of weights that meet the same output has the step
    max|w| / (2^(bits-1) - 1). Every parameter of two dimensions or more is such a matrix, those of
    embeddings and adapters among them; biases and normalisations stay as they are. Tied weights
    stay tied. Rounding a rounded model again changes nothing.

    Args:
        model: any module; not changed, unless `replace`.
        bits: of a weight, 2 to 8.
        group: weights that share a step, counted along the input dimension; the last group of a row
            may be shorter.
        replace: round the model itself, in place of a copy.

    Raises:
        InputError: another number of bits, an empty group, or a model without a weight matrix.

    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[7.0, 3.4, -0.6]])
    >>> quantized(layer, 4).weight.tolist()
    [[7.0, 3.0, -1.0]]
    """
    if not 2 <= bits <= 8:
        raise InputError(f"bits must lie between 2 and 8, got {bits}")
    require_count("group", group)
    replica = model if replace else copy.deepcopy(model)
    found = False
    for matrix in _matrices(replica):
        found = True
        for start in range(0, len(matrix), ROWS):
            rows = matrix[start : start + ROWS]
            rows.copy_(_on_grid(rows, bits, group))
    if not found:
        raise InputError(
            f"{type(model).__name__} has no weight matrix to round: give a model with parameters "
            "of two dimensions or more"
        )
    return replica


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
                # GPT-2 stores its matrices transposed.
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


BITS = {Level.STANDARD: (4,), Level.THOROUGH: (8, 4)}


class Quantization:
    """Recall after quantization to int4, and to int8 where the audit is thorough (2410.16454)."""

    name: ClassVar = "quantization"
    family: ClassVar = "recovery"
    source: ClassVar = "arXiv 2410.16454"
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = (
        "what comes back when the weights are rounded to int4, and int8 where thorough"
    )
    reason: ClassVar = "rounding the weights brings the forgotten back"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "exact match in int*": RECALL,
        "probability in int*": PROBABILITY,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and controls, scored by every model at every width."""
        width = evidence.candidate.task.width
        models = len(evidence.references) + 1
        cost = len(evidence.models) * sum(map(width, evidence.forget))
        return Asks(
            passes=len(_bits(evidence)) * (cost + models * sum(map(width, evidence.few))),
            inside=tuple(partial(_coarse, evidence, bits) for bits in _bits(evidence)),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare recall of the quantized candidate with that of quantized never-trained models."""
        asked, beside = evidence.forget, evidence.few
        found = []
        for bits in _bits(evidence):
            for metric, tolerated in (("exact match", RECALL), ("probability", PROBABILITY)):
                question = Question(
                    "quantization", f"{metric} in int{bits}", "forgotten, as trained", tolerated
                )

                def measure(
                    scored: ScoredModel,
                    records: Sequence[Example],
                    bits: int = bits,
                    metric: str = metric,
                ) -> list[float]:
                    by_record = _coarse(evidence, bits, scored)
                    scores = [by_record[scored.task.fingerprint(record)] for record in records]
                    return [float(s.exact) if "exact" in metric else s.probability for s in scores]

                found.append(
                    with_never_trained(
                        evidence,
                        question,
                        asked,
                        measure,
                        controls=beside,
                        # Models predict a class without having been taught the record; see
                        # `Recall`.
                        known=evidence.has(EvidenceNeed.LANGUAGE),
                    )
                )
        return found


def _coarse(evidence: Evidence, bits: int, scored: ScoredModel) -> dict[bytes, Score]:
    """A model's scores when it is quantized, by record; all at once, as each needs the copy."""
    beside = () if scored is evidence.original else evidence.few
    everything = (*evidence.forget, *beside)

    def find() -> dict[bytes, Score]:
        model = ScoredModel(quantized(scored.replica(), bits, replace=True), scored.task)
        keys = map(scored.task.fingerprint, everything)
        return dict(zip(keys, model.scores(everything), strict=True))

    return scored.once(f"rounded to {bits} bits", everything, find)


def _bits(evidence: Evidence) -> tuple[int, ...]:
    return BITS.get(evidence.level, BITS[Level.STANDARD])
