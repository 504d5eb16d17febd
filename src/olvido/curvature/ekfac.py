"""EK-FAC: the curvature of every matrix in an eigenbasis made of two small ones.

The Gauss-Newton curvature of a matrix [O, I] would have O I rows and columns. Its eigenbasis is
approximated by those of two covariances, of output gradients (O by O) and of inputs (I by I), and
the curvature along each of its O I directions is then measured (George et al. 2018, arXiv
1806.03884). Inputs and output gradients are rotated first, and each record's gradient is
formed in the basis already: half the multiplications of rotating full gradients.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.curvature.gradients import PerRecord
from olvido.curvature.layers import Factored
from olvido.curvature.storage import OnDisk, write
from olvido.errors import InputError
from olvido.models import weights_digest
from olvido.tasks import Example, Task

BATCH = 16
"""Records a pass."""
WIDEST = 8192
"""Rows of the largest covariance: a larger side (a vocabulary) keeps its own basis."""
MEMORY = 4 << 30
"""Bytes for the factors of the parameters that are fitted together; more parameters take more
passes over the records."""
KEPT = torch.float16
"""Precision of the bases, in memory and on disk. The curvature is measured along the rounded ones;
scores change by less than 1e-9 in correlation."""
DAMPING = 0.1
"""Added to the curvature, as a share of a parameter's mean one (Grosse et al. 2023, arXiv
2308.03296)."""


@dataclass(frozen=True)
class ParameterCurvature:
    """The curvature of one parameter.

    Attributes:
        values: curvature along every direction of the basis. [O, I], or the parameter's own shape
        left, right: the basis in columns, in half precision; None for that of the weights
            themselves. [O, O], [I, I]
    """

    values: Tensor
    left: Tensor | None = None
    right: Tensor | None = None

    def rotated(self, part: Factored) -> Factored:
        """The gradients in the basis. Its matrices are [O, I]."""
        if part.direct is not None or (self.left is None and self.right is None):
            return part
        uses = tuple(
            replace(
                use,
                left=use.left if self.left is None else use.left @ self.left.to(use.left),
                right=use.right if self.right is None else use.right @ self.right.to(use.right),
            )
            for use in part.uses
        )
        return Factored(torch.Size(self.values.shape), uses)

    def solve(self, gradient: Tensor, damping: float, ridge: float = 0.0) -> Tensor:
        """The damped inverse curvature times a gradient. [..., *shape]

        Args:
            gradient: one or several gradients of the parameter.
            damping: added, as a share of the mean curvature.
            ridge: added as an absolute value.
        """
        lead = gradient.shape[: gradient.dim() - _dims(gradient, self.values)]
        found = gradient.reshape(*lead, *self.values.shape)
        left = None if self.left is None else self.left.to(found)
        right = None if self.right is None else self.right.to(found)
        found = found if left is None else left.T @ found
        found = found if right is None else found @ right
        # Without any curvature the step is unknown: such a parameter stays unchanged.
        floor = damping * self.values.mean() + ridge
        found = found / (self.values + floor) if float(floor) > 0 else torch.zeros_like(found)
        found = found if left is None else left @ found
        found = found if right is None else found @ right.T
        return found.reshape(gradient.shape)


def _dims(gradient: Tensor, values: Tensor) -> int:
    """The number of a gradient's dimensions that are the parameter's."""
    count, size = 0, 1
    while size < values.numel():
        count += 1
        size *= gradient.shape[-count]
    return count


@dataclass(frozen=True)
class Ekfac:
    """The curvature of a model's mean loss over some records, parameter by parameter.

    Attributes:
        blocks: curvature by parameter; read from disk one at a time if stored there.
        digest: of the model, the records and the seed that determined it.
        weights: digest of the model's weights.
        seed: of the draws.
        records: digests of the records' content, sorted, with repetitions.
    """

    blocks: Mapping[str, ParameterCurvature]
    digest: str
    weights: str = ""
    seed: int = 0
    records: tuple[str, ...] = ()

    def without(
        self, model: Module, records: Sequence[Example], task: Task, *, batch_size: int = BATCH
    ) -> Ekfac:
        """The curvature of the remaining records, in the same basis.

        A removed record's contribution is subtracted, with the same draws for the same id: at the
        weights of the measurement, nothing of it then remains except in the choice of the
        basis.

        Args:
            model: the current model.
            records: removed records; those outside of the measurement change nothing.
            task: turns records into batches.
            batch_size: records a pass.

        Raises:
            InputError: no record remains.
        """
        gone = self._met(records, task)
        if not gone:
            return self
        left = len(self.records) - len(gone)
        if not left:
            raise InputError("the curvature was measured on the records that leave, and no others")
        per_record = PerRecord(model, task)
        squares: dict[str, Tensor] = {}
        for batch in task.batches([record for _, record in gone], batch_size):
            for name, part in per_record(batch, sampled=_draw(self.seed)).parts.items():
                found = self.blocks[name].rotated(part).squares()
                squares[name] = squares[name].add_(found) if name in squares else found
        blocks = {}
        for name, lost in squares.items():
            block = self.blocks[name]
            values = block.values * len(self.records) - lost.reshape(block.values.shape)
            blocks[name] = replace(block, values=values.clamp(min=0.0) / left)
        marks = [one for one, _ in gone]
        rest = sorted((Counter(self.records) - Counter(marks)).elements())
        digest = _digest_of(self.digest, *marks)
        return replace(self, blocks=blocks, digest=digest, records=tuple(rest))

    def share(self, records: Sequence[Example], task: Task) -> float:
        """The share of these records that it was measured on, 0 to 1."""
        return len(self._met(records, task)) / len(records)

    def _met(self, records: Sequence[Example], task: Task) -> list[tuple[str, Example]]:
        there, found = Counter(self.records), []
        for record in records:
            one = mark(record, task)
            if there[one]:
                there[one] -= 1
                found.append((one, record))
        return found

    def keep(self, folder: Path, weights: str) -> None:
        """Write it as the curvature of a model near the measured one.

        Args:
            folder: see `fit_ekfac`.
            weights: digest of that model's weights.
        """
        digest = _digest_of(self.digest, weights)
        if not (folder / digest).is_dir():
            own = replace(self, digest=digest, weights=weights)
            write(
                folder / digest,
                ({n: _to_tensors(b)} for n, b in self.blocks.items()),
                own.to_dict(),
            )

    def to_dict(self) -> dict[str, Any]:
        """Metadata to write beside the factors."""
        return {"weights": self.weights, "seed": self.seed, "records": list(self.records)}

    def solve(
        self, gradients: Mapping[str, Tensor], *, damping: float = DAMPING, ridge: float = 0.0
    ) -> dict[str, Tensor]:
        """The damped inverse curvature times a gradient, or several stacked.

        Args:
            gradients: by parameter. [..., *shape]
            damping: added, as a share of each parameter's mean curvature.
            ridge: added as an absolute value; of weight decay, for instance.

        Raises:
            InputError: the curvature of a parameter was not fitted.
        """
        found = {}
        for name, gradient in gradients.items():
            if name not in self.blocks:
                raise InputError(f"no curvature was fitted for the parameter {name!r}")
            found[name] = self.blocks[name].solve(gradient, damping, ridge)
        return found


def fit_ekfac(
    model: Module,
    records: Sequence[Example],
    task: Task,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
    folder: Path | None = None,
    memory: int = MEMORY,
) -> Ekfac:
    """Measure the curvature of a model's mean loss over records.

    Two passes: one for the bases, one for the curvature along them. Targets are drawn from the
    model, which makes it the Gauss-Newton curvature in expectation.

    Args:
        model: its trainable parameters are measured; it is left unchanged.
        records: a sample of its training records.
        task: turns records into batches.
        seed: of the draws.
        batch_size: records a pass.
        folder: the store of factors, under the digest of all that determines them; None: memory
            alone.
        memory: bytes for the factors of the parameters fitted together.

    Raises:
        InputError: there are no records, or no parameter requires a gradient.
        DigestMismatch: the folder's content was changed.
    """
    if not records:
        raise InputError("there are no records to measure the curvature on: give one or more")
    per_record = PerRecord(model, task)
    weights = weights_digest(model)
    marks = [mark(record, task) for record in records]
    # Targets are drawn by the records' ids.
    drawn = [part for record, one in zip(records, marks, strict=True) for part in (record.id, one)]
    digest = _digest_of(f"{weights}|{seed}|{batch_size}", *per_record.parameters, *drawn)
    if folder is not None and (folder / digest).is_dir():
        return read(folder / digest)
    parts = _fitted(model, records, task, seed, batch_size, memory)
    made = Ekfac({}, digest, weights, seed, tuple(sorted(marks)))
    if folder is not None:
        tensors = ({n: _to_tensors(b) for n, b in part.items()} for part in parts)
        write(folder / digest, tensors, made.to_dict())
        return read(folder / digest)
    return replace(made, blocks={n: block for part in parts for n, block in part.items()})


def mark(record: Example, task: Task) -> str:
    """A digest that identifies a record's content, under any id, without revealing it."""
    return hashlib.sha256(task.fingerprint(record)).hexdigest()


def read(folder: Path) -> Ekfac:
    """Read the curvature in a folder, its files checked against their digests."""
    blocks = OnDisk(folder, _from_tensors)
    note = blocks.note
    return Ekfac(blocks, folder.name, note["weights"], note["seed"], tuple(note["records"]))


def _draw(seed: int) -> str:
    """The name of the draw by which the curvature along the basis is measured."""
    return f"{seed}/curvature"


def _fitted(
    model: Module, records: Sequence[Example], task: Task, seed: int, batch_size: int, memory: int
) -> Iterator[dict[str, ParameterCurvature]]:
    needs = {name: _memory(p) for name, p in PerRecord(model, task).parameters.items()}
    for names in together(needs, memory):
        per_record = PerRecord(model, task, names=names)
        covariances: dict[str, tuple[Tensor | None, Tensor | None]] = {}
        for batch in task.batches(records, batch_size):
            for name, part in per_record(batch, sampled=f"{seed}/basis").parts.items():
                if part.direct is None:
                    _add(covariances, name, part)
        bases = {name: (_basis(a), _basis(b)) for name, (a, b) in covariances.items()}
        del covariances
        blocks: dict[str, ParameterCurvature] = {}
        for batch in task.batches(records, batch_size):
            for name, part in per_record(batch, sampled=_draw(seed)).parts.items():
                if name not in blocks:
                    left, right = bases.get(name, (None, None))
                    shape = part.matrix
                    blocks[name] = ParameterCurvature(
                        torch.zeros(shape, device=per_record.device), left, right
                    )
                rotated = blocks[name].rotated(part)
                blocks[name].values.add_(rotated.squares().reshape(blocks[name].values.shape))
        for block in blocks.values():
            block.values.div_(len(records))
        yield blocks


def together(needs: Mapping[str, int], memory: int) -> Iterator[list[str]]:
    """Names in their order, as many at a time as fit in memory.

    >>> list(together({"a": 3, "b": 4, "c": 2}, 6))
    [['a'], ['b', 'c']]
    """
    chosen: list[str] = []
    used = 0
    for name, need in needs.items():
        if chosen and used + need > memory:
            yield chosen
            chosen, used = [], 0
        chosen.append(name)
        used += need
    yield chosen


def _memory(parameter: Tensor) -> int:
    """Bytes while a parameter is fitted: covariances and bases are in memory together for a
    moment, beside the curvature."""
    sides = [side for side in _sides(parameter) if side <= WIDEST]
    return 4 * (parameter.numel() + 2 * sum(side * side for side in sides))


def _sides(parameter: Tensor) -> tuple[int, ...]:
    if parameter.dim() < 2:
        return ()
    return (parameter.shape[0], parameter.numel() // parameter.shape[0])


def _add(
    covariances: dict[str, tuple[Tensor | None, Tensor | None]], name: str, part: Factored
) -> None:
    """Add a batch's covariances of a matrix's two sides."""
    left, right = covariances.get(name, (None, None))
    one_hot = any(use.one_hot for use in part.uses)
    for use in part.uses:
        both = [use.right] if use.one_hot else [use.left, use.right]
        # A position that nothing depends on (padding, a last token) has no covariance on either
        # side.
        counts = torch.stack([(side != 0).any(-1) for side in both]).all(0).unsqueeze(-1)
        if not one_hot and use.width <= WIDEST:
            left = _plus(left, use.left * counts)
        if use.right.shape[-1] <= WIDEST:
            right = _plus(right, use.right * counts)
    covariances[name] = (left, right)


def _plus(covariance: Tensor | None, seen: Tensor) -> Tensor:
    flat = seen.flatten(0, 1)
    return flat.T @ flat if covariance is None else covariance.addmm_(flat.T, flat)


def _basis(covariance: Tensor | None) -> Tensor | None:
    """Eigenvectors, in columns; in double precision where single precision loses them."""
    if covariance is None:
        return None
    scaled = covariance / covariance.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    try:
        found = torch.linalg.eigh(scaled).eigenvectors
        gap = found.T @ found - torch.eye(len(found), device=found.device)
        if bool(gap.abs().max() < 1e-4):
            return found.to(KEPT)
    except RuntimeError:
        # Whatever single precision failed with, double precision succeeds or fails with it again.
        pass
    return torch.linalg.eigh(scaled.double()).eigenvectors.to(KEPT)


def _to_tensors(block: ParameterCurvature) -> dict[str, Tensor]:
    sides = {"left": block.left, "right": block.right}
    return {"values": block.values, **{n: side for n, side in sides.items() if side is not None}}


def _from_tensors(tensors: Mapping[str, Tensor]) -> ParameterCurvature:
    return ParameterCurvature(tensors["values"], tensors.get("left"), tensors.get("right"))


def _digest_of(*parts: str) -> str:
    total = hashlib.sha256()
    for part in map(str.encode, parts):
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()
