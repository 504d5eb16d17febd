"""Identify the model whose weights a file of tensors holds, if no writer accounts for the file.

A tensor is recognised by its numbers, in single precision or rounded to half precision (bfloat16
or float16), under any name, in any file. Weights that were quantized or trained further are not:
for those only the shapes show the architecture.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from olvido.artifact_shapes import NOTE, owned
from olvido.files import open_plain
from olvido.ledger.facts import Model
from olvido.requests.closure.tensors import UnreadableTensors, tensors_in

if TYPE_CHECKING:
    from torch import Tensor

    from olvido.ledger.store import Store

NOTED = "weights-digests"
"""The kind of the log's entry with the digests of a removed model's tensors."""
_BESIDE = 256
"""Characters of other content, such as an epoch, that are ignored: no weights are so short."""
_SINGLE = 12
"""Characters of a number in single precision."""


@dataclass(frozen=True, slots=True)
class TensorFinding:
    """What is known of a file with tensors.

    Attributes:
        says: which model's weights they are, in words.
        holds: whether they are, or may be, those of a model that holds the data.
        known: whether their numbers show that they are.
        read: whether the numbers could be read.
    """

    says: str
    holds: bool
    known: bool = False
    read: bool = True


class KnownTensors:
    """The tensors of the models that the ledger knows, read when the first file is asked about.

    Args:
        models: all models, removed or not.
        holding: ids of the models that hold the data, or are to be destroyed.
        files: for each existing model, by id, the files with the weights that the ledger entered.
        folder: the workspace's folder of models.
        kept: see `weights_kept`.
    """

    def __init__(
        self,
        models: Sequence[Model],
        holding: set[str],
        files: Mapping[str, Collection[Path]],
        folder: Path,
        kept: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._models, self._holding, self._folder = models, holding, folder
        self._files, self._kept = files, kept

    def whose(self, path: Path) -> TensorFinding:
        """Find the model whose weights a file holds."""
        try:
            read = _Read.of(path)
        except UnreadableTensors as error:
            return TensorFinding(
                f"tensors that nobody accounts for and that cannot be read ({error})",
                True,
                read=False,
            )
        same = [model.id for model in self._models if str(model.digest) == read.digest]
        if not same:
            if read.digest in self._origins and read.whole:
                return TensorFinding("a copy of what a model was trained from", False)
            shared: Counter[str] = Counter()
            for digest, count in read.telling:
                shared.update(dict.fromkeys(self._known.get(digest, ()), count))
            total = sum(count for _, count in read.telling)
            same = sorted(model for model, count in shared.items() if count == total)
            partly = sorted((n, model) for model, n in shared.items() if model in self._holding)
            if partly and not same:
                share, model = partly[-1][0] / total, partly[-1][1]
                return TensorFinding(
                    f"{share:.0%} of its numbers are {_of(model)}, which learned it", True, True
                )
        clean = [model for model in same if model not in self._holding]
        if clean and not (read.whole and self._plain(read, clean[0])):
            # Tensors that training leaves unchanged say nothing about the other tensors.
            return TensorFinding(
                f"what can be read of it is {_of(clean[0])}, and the rest cannot be", True
            )
        if clean:
            return TensorFinding(f"weights {_of(clean[0])}, which does not hold it", False)
        if same:
            return TensorFinding(
                f"a copy of the weights {_of(same[0])}, which learned it", True, True
            )
        alike = sorted(m for m, made in self._made.items() if read.shapes <= made.shapes)
        if alike and read.shapes:
            return TensorFinding(
                f"weights of the same architecture as those {_of(alike[0])}, unknown", True
            )
        return TensorFinding("tensors that nobody accounts for", True)

    def _plain(self, read: _Read, model: str) -> bool:
        """Whether a file's names and constant tensors are the model's, except a few.

        By themselves they identify no model, and many of them could encode anything.
        """
        if read.digest == self._digests.get(model):
            return True
        own = self._made[model]
        fresh = sum(map(len, read.names - own.names))
        return fresh + _SINGLE * len(read.quiet - own.quiet) <= _BESIDE

    def copied(self, files: Collection[Path]) -> bool:
        """Whether files together are the weights of one model that holds the data, or a part of it.

        Every tensor that identifies a model has to be of this one.
        """
        try:
            digests = [digest for path in files for digest, _ in _Read.of(path).telling]
        except UnreadableTensors:
            return False
        known = [self._known.get(digest, set()) for digest in digests]
        same = set.intersection(*known) if known else set()
        return bool(same) and same <= self._holding

    @cached_property
    def _known(self) -> Mapping[str, set[str]]:
        """The models, removed or not, that have a tensor, by its digest, exact or rounded."""
        found: dict[str, set[str]] = {}
        for model, digests in self._kept.items():
            for digest in digests:
                found.setdefault(digest, set()).add(model)
        for model, files in self._files.items():
            for digest in _digests(files):
                found.setdefault(digest, set()).add(model)
        return found

    @cached_property
    def _made(self) -> Mapping[str, _Made]:
        """The names, shapes and constant tensors of each model."""
        return {model.id: _Made.of(self._files.get(model.id, ())) for model in self._models}

    @cached_property
    def _digests(self) -> Mapping[str, str]:
        return {model.id: str(model.digest) for model in self._models}

    @cached_property
    def _origins(self) -> frozenset[str]:
        """Digests of the weights that the models were trained from, as their traces have them."""
        found: set[str] = set()
        for model in self._models:
            try:
                with open_plain(self._folder / model.path / NOTE) as file:
                    note = json.load(file)
                found |= {run["origin"] for run in note["runs"].values() if "origin" in run}
                found |= {note["origin"]} if "origin" in note else set()
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                # Removed, or without a trace: then it excuses no file.
                continue
        learned = {str(model.digest) for model in self._models}
        return frozenset(found - learned)


def keep_weights(store: Store, model: Model, folder: Path) -> None:
    """Keep digests of a model's tensors before its files are removed, to recognise copies later.

    A digest reveals nothing of a tensor's numbers.
    """
    digests = sorted(set(_digests(weights_in(folder / model.path))))
    if set(digests) - weights_kept(store).get(model.id, frozenset()):
        store.note(NOTED, {"model": model.id, "tensors": digests})


def weights_kept(store: Store) -> Mapping[str, frozenset[str]]:
    """The digests that were kept of removed models' tensors, by the model's id."""
    return {e.detail["model"]: frozenset(e.detail["tensors"]) for e in store.events(NOTED)}


def cached_ids(path: Path) -> set[str]:
    """The ids of the records whose activations a file keeps; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return set(json.loads(file.metadata()["ids"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return set()


def weights_in(folder: Path) -> tuple[Path, ...]:
    """The files in a model's folder that are named like weights, without its checkpoints."""
    return tuple(
        path
        for path in owned(folder)
        if path.suffix in (".safetensors", ".bin")
        and path.parts[-2] != "logs"
        and "checkpoints" not in path.relative_to(folder).parts
    )


def _digests(files: Iterable[Path]) -> Iterator[str]:
    """The digests, exact and rounded, of each tensor that identifies a model."""
    import torch

    for path in files:
        for _, tensor in _readable(path):
            if _tells(tensor):
                for dtype in (tensor.dtype, torch.bfloat16, torch.float16):
                    yield _single(tensor.to(dtype) if tensor.is_floating_point() else tensor)


def _of(model: str) -> str:
    return f"of model {model}"


@dataclass(frozen=True, slots=True)
class _Made:
    """The names, shapes and constant tensors of a model.

    Attributes:
        shapes: the shapes of all tensors.
        names: the parts of their names.
        quiet: digests of the constant tensors, which identify no model.
    """

    shapes: Counter[tuple[int, ...]]
    names: frozenset[str]
    quiet: frozenset[str]

    @classmethod
    def of(cls, files: Iterable[Path]) -> Self:
        shapes, names, quiet = Counter[tuple[int, ...]](), set[str](), set[str]()
        for path in files:
            for name, tensor in _readable(path):
                shapes[_shape(tensor.shape)] += 1
                names.update(name.split("."))
                if tensor.device.type != "meta" and not _tells(tensor):
                    quiet.add(_single(tensor))
        return cls(shapes, frozenset(names), frozenset(quiet))


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file of tensors, without its numbers.

    Attributes:
        digest: the digest that the ledger would give a model of these tensors.
        shapes: the shapes of the tensors.
        names: the parts of their names.
        quiet: digests of the constant tensors.
        telling: digest and size of each tensor that identifies a model.
        whole: whether all its numbers were read, except a few outside the tensors.
    """

    digest: str
    shapes: Counter[tuple[int, ...]]
    names: frozenset[str]
    quiet: frozenset[str]
    telling: tuple[tuple[str, int], ...]
    whole: bool

    @classmethod
    def of(cls, path: Path) -> Self:
        total, shapes, telling = hashlib.sha256(), Counter[tuple[int, ...]](), []
        beside: list[Any] = []
        names, quiet, whole = set[str](), set[str](), True
        for name, tensor in tensors_in(path, beside):
            shapes[_shape(tensor.shape)] += 1
            names.update(name.split("."))
            total.update(_bytes(name, tensor))
            if tensor.device.type == "meta":
                whole = False
            elif _tells(tensor):
                telling.append((_single(tensor), tensor.numel()))
            else:
                quiet.add(_single(tensor))
        whole = whole and sum(len(str(value)) for value in beside) <= _BESIDE
        digest = f"sha256:{total.hexdigest()}"
        return cls(digest, shapes, frozenset(names), frozenset(quiet), tuple(telling), whole)


def digest_of(files: Iterable[Path]) -> str | None:
    """The digest that the ledger gives a model whose weights are these files, as shards.

    None where a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        for name, tensor in heapq.merge(*map(tensors_in, files), key=lambda item: item[0]):
            total.update(_bytes(name, tensor))
    except UnreadableTensors:
        return None
    return f"sha256:{total.hexdigest()}"


def _bytes(name: str, tensor: Tensor) -> bytes:
    """The bytes that a tensor adds to a model's digest; see `olvido.models.weights_digest`."""
    import torch

    head = f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode()
    if tensor.device.type == "meta":
        return head
    return head + tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _readable(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model's own file; none where it is damaged, which loading it reports."""
    try:
        yield from tensors_in(path)
    except UnreadableTensors:
        return


def _shape(sizes: Sequence[int]) -> tuple[int, ...]:
    """A shape without regard to the order of its dimensions and to ones."""
    return tuple(sorted(size for size in sizes if size != 1))


def _tells(tensor: Tensor) -> bool:
    """Whether a tensor identifies a model: a constant one may be in any model."""
    if tensor.device.type == "meta" or tensor.numel() < 2:
        return False
    flat = tensor.reshape(-1)
    return bool((flat != flat[0]).any())


def _single(tensor: Tensor) -> str:
    """128 bits of SHA-256 of a tensor's numbers in single precision, whatever shape and dtype."""
    import torch

    single = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
    flat = single.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:32]
