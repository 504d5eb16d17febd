"""Files with tensors that no writer accounts for: whose weights they are, as far as can be told.

A tensor is known again by its numbers, in single precision or rounded to half of it (bfloat16 or
float16), under any name, in any file. Weights that were quantized or trained on are not: of those
the shapes alone tell of which architecture they are.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from olvido.artifacts import NOTE, header, owned
from olvido.ledger.facts import Model

if TYPE_CHECKING:
    from torch import Tensor

    from olvido.ledger.store import Store

NOTED = "weights-digests"
"""What the log calls digests of the tensors of a model that went."""

_NAMED = {
    *(".safetensors", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".npy", ".onnx", ".h5", ".keras"),
    *(".tflite", ".msgpack", ".mlmodel"),
}
# GGUF and its forerunners, one array of NumPy, HDF5, and PyTorch before 1.6.
_MAGIC = (b"GGUF", b"lmgg", b"tjgg", b"fmgg", b"\x93NUMPY", b"\x89HDF\r\n")
_PICKLED = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a file with tensors.

    Attributes:
        says: whose weights they are.
        holds: whether they are, or may be, those of a model that holds the data.
        known: whether they are, as far as their numbers tell.
        read: whether its numbers could be read.
    """

    says: str
    holds: bool
    known: bool = False
    read: bool = True


def has_tensors(path: Path) -> bool:
    """Whether a file holds tensors: by what it begins with or, where that cannot tell, its name."""
    return path.suffix.lower() in _NAMED or begins_as_tensors(path)


def begins_as_tensors(path: Path) -> bool:
    """Whether a file holds tensors whatever it is called, as far as its first bytes tell."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_MAGIC) or head.startswith(_PICKLED):
        return True
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return False
        return any(name.endswith((".npy", "/data.pkl")) for name in names)
    return head[8:9] == b"{" and header(path) is not None


class Weights:
    """The tensors of the models that the ledger knows, read when the first file is asked about.

    Args:
        models: all, gone or not.
        holding: ids of those that hold the data, or are to be destroyed.
        folder: of the workspace's models.
        kept: see `weights_kept`.
    """

    def __init__(
        self,
        models: Sequence[Model],
        holding: set[str],
        folder: Path,
        kept: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        self._models, self._holding, self._folder = models, holding, folder
        self._kept = kept

    def whose(self, path: Path) -> Finding:
        """Whose weights a file holds."""
        try:
            read = _Read.of(path)
        except Unreadable as error:
            return Finding(
                f"tensors that nobody accounts for and that cannot be read ({error})",
                True,
                read=False,
            )
        same = [model.id for model in self._models if str(model.digest) == read.digest]
        if not same:
            if read.digest in self._origins:
                return Finding("a copy of what a model was trained from", False)
            shared: Counter[str] = Counter()
            for digest, count in read.telling:
                shared.update(dict.fromkeys(self._known.get(digest, ()), count))
            total = sum(count for _, count in read.telling)
            same = sorted(model for model, count in shared.items() if count == total)
            partly = sorted((n, model) for model, n in shared.items() if model in self._holding)
            if partly and not same:
                share, model = partly[-1][0] / total, partly[-1][1]
                return Finding(
                    f"{share:.0%} of its numbers are {_of(model)}, which learned it", True, True
                )
        clean = [model for model in same if model not in self._holding]
        if clean:
            return Finding(f"weights {_of(clean[0])}, which does not hold it", False)
        if same:
            return Finding(f"a copy of the weights {_of(same[0])}, which learned it", True, True)
        alike = sorted(m for m, known in self._shapes.items() if read.shapes <= known)
        if alike and read.shapes:
            return Finding(
                f"weights of the same architecture as those {_of(alike[0])}, unknown", True
            )
        return Finding("tensors that nobody accounts for", True)

    @cached_property
    def _files(self) -> Mapping[str, tuple[Path, ...]]:
        """The weights of every model that is there, without its checkpoints."""
        return {model.id: _weights_in(self._folder / model.path) for model in self._models}

    @cached_property
    def _known(self) -> Mapping[str, set[str]]:
        """By the digest of a tensor, as it is or rounded, the models that have it, gone or not."""
        found: dict[str, set[str]] = {}
        for model, digests in self._kept.items():
            for digest in digests:
                found.setdefault(digest, set()).add(model)
        for model, files in self._files.items():
            for digest in _digests(files):
                found.setdefault(digest, set()).add(model)
        return found

    @cached_property
    def _shapes(self) -> Mapping[str, Counter[tuple[int, ...]]]:
        return {
            model: Counter(_shape(t.shape) for path in files for _, t in _readable(path))
            for model, files in self._files.items()
        }

    @cached_property
    def _origins(self) -> frozenset[str]:
        """Digests of what the models were trained from, as their traces have them."""
        found: set[str] = set()
        for model in self._models:
            try:
                note = json.loads((self._folder / model.path / NOTE).read_text("utf-8"))
                found |= {run["origin"] for run in note["runs"].values() if "origin" in run}
                found |= {note["origin"]} if "origin" in note else set()
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                # Gone, or without a trace: then nothing is excused by it.
                continue
        learned = {str(model.digest) for model in self._models}
        return frozenset(found - learned)


def keep_weights(store: Store, model: Model, folder: Path) -> None:
    """Keep digests of a model's tensors, before its files go: by them a copy is known afterwards.

    A digest says nothing of what a tensor's numbers are.
    """
    digests = sorted(set(_digests(_weights_in(folder / model.path))))
    if set(digests) - weights_kept(store).get(model.id, frozenset()):
        store.note(NOTED, {"model": model.id, "tensors": digests})


def weights_kept(store: Store) -> Mapping[str, frozenset[str]]:
    """The digests of tensors that were kept of models that went, by the model's id."""
    return {e.detail["model"]: frozenset(e.detail["tensors"]) for e in store.events(NOTED)}


def cached_ids(path: Path) -> set[str]:
    """The ids of the records whose activations a file keeps; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return set(json.loads(file.metadata()["ids"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return set()


def _weights_in(folder: Path) -> tuple[Path, ...]:
    """The files of weights in a model's folder, without its checkpoints."""
    return tuple(
        path
        for path in owned(folder)
        if path.suffix in (".safetensors", ".bin")
        and path.parts[-2] != "logs"
        and "checkpoints" not in path.relative_to(folder).parts
    )


def _digests(files: Iterable[Path]) -> Iterator[str]:
    """The digest of each tensor that tells one model from another, as it is and rounded."""
    import torch

    for path in files:
        for _, tensor in _readable(path):
            if _tells(tensor):
                for dtype in (tensor.dtype, torch.bfloat16, torch.float16):
                    yield _single(tensor.to(dtype) if tensor.is_floating_point() else tensor)


def _of(model: str) -> str:
    return f"of model {model}"


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file, without its numbers.

    Attributes:
        digest: that the ledger would have of a model of these tensors.
        shapes: of the tensors.
        telling: the digest and the count of numbers of each tensor that tells one model from
            another.
    """

    digest: str
    shapes: Counter[tuple[int, ...]]
    telling: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, path: Path) -> Self:
        import torch

        total, shapes, telling = hashlib.sha256(), Counter[tuple[int, ...]](), []
        for name, tensor in _tensors(path):
            shapes[_shape(tensor.shape)] += 1
            total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            if tensor.device.type == "meta":
                continue
            total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            if _tells(tensor):
                telling.append((_single(tensor), tensor.numel()))
        return cls(f"sha256:{total.hexdigest()}", shapes, tuple(telling))


class Unreadable(ValueError):
    """Tensors that cannot be read here."""


def _readable(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model's own file; none where it is damaged: loading it tells that."""
    try:
        yield from _tensors(path)
    except Unreadable:
        return


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every distinct tensor of a file by its name, ascending; of quantized ones the shapes.

    Raises:
        Unreadable: it holds none that can be read here.
    """
    import pickle

    from safetensors import SafetensorError, safe_open

    try:
        if header(path) is not None:
            with safe_open(path, "pt") as opened:
                for name in sorted(opened.keys()):
                    yield name, opened.get_tensor(name)
        else:
            yield from sorted(_loaded(path), key=lambda item: item[0])
    except (
        *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError),
        *(SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError),
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unreadable(reason[:200]) from error


def _loaded(path: Path) -> Iterator[tuple[str, Tensor]]:
    import numpy as np
    import torch

    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"GGUF"):
        yield from _gguf(path)
    elif head.startswith(b"\x93NUMPY"):
        yield "array", torch.from_numpy(np.load(path, allow_pickle=False))
    elif head.startswith(b"PK\x03\x04") and _is_npz(path):
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                if (array := arrays[name]).dtype.kind in "fiub":
                    yield name, torch.from_numpy(np.ascontiguousarray(array))
    elif head.startswith((b"PK\x03\x04", b"\x80\x02")):
        seen: set[int] = set()
        # By its bytes: of a path torch would go by what it is called.
        with path.open("rb") as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        for name, tensor in _nested("", loaded):
            # Tied weights count once, under the first of their names.
            if not tensor.numel() or tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                yield name, tensor
    else:
        raise Unreadable(f"no reader for {path.suffix or 'such a file'}")


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _nested(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value.detach()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nested(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _nested(f"{name}.{number}" if name else str(number), inner)


def _gguf(path: Path) -> Iterator[tuple[str, Tensor]]:
    import numpy as np
    import torch

    try:
        from gguf import GGMLQuantizationType as Quantized
        from gguf import GGUFReader
    except ImportError:
        raise Unreadable("to read GGUF, install the package gguf") from None
    for tensor in GGUFReader(path).tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
        data = np.array(tensor.data)
        if tensor.tensor_type in (Quantized.F32, Quantized.F16):
            yield tensor.name, torch.from_numpy(data).reshape(shape)
        elif tensor.tensor_type is Quantized.BF16:
            bits = torch.from_numpy(data.view(np.int16).copy())
            yield tensor.name, bits.view(torch.bfloat16).reshape(shape)
        else:
            # Its numbers are rounded too far to be known again.
            yield tensor.name, torch.empty(shape, dtype=torch.uint8, device="meta")


def _shape(sizes: Sequence[int]) -> tuple[int, ...]:
    """A shape however its dimensions are ordered and padded with ones."""
    return tuple(sorted(size for size in sizes if size != 1))


def _tells(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are its own: one that is the same throughout is in every model."""
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
