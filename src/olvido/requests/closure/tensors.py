"""Read tensors from the files that may hold them, whatever program wrote them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olvido.artifact_shapes import header
from olvido.errors import MissingExtra
from olvido.extras import extra
from olvido.files import open_plain
from olvido.requests.copies.parts import BROKEN

if TYPE_CHECKING:
    from torch import Tensor

_NAMED = {
    *(".safetensors", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".npy", ".onnx", ".h5", ".keras"),
    *(".tflite", ".msgpack", ".mlmodel"),
}
# GGUF and its forerunners, one array of NumPy, HDF5, and PyTorch before 1.6.
_MAGIC = (b"GGUF", b"lmgg", b"tjgg", b"fmgg", b"\x93NUMPY", b"\x89HDF\r\n")
_PICKLED = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def has_tensors(path: Path) -> bool:
    """Whether a file holds tensors: by its first bytes or, if they do not show it, by its name."""
    return path.suffix.lower() in _NAMED or begins_as_tensors(path)


def begins_as_tensors(path: Path) -> bool:
    """Whether a file's first bytes are those of a tensor file, whatever its name."""
    with open_plain(path) as file:
        head = file.read(16)
    if head.startswith(_MAGIC) or head.startswith(_PICKLED):
        return True
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except BROKEN:
            return False
        return any(name.endswith((".npy", "/data.pkl")) for name in names)
    return head[8:9] == b"{" and header(path) is not None


class UnreadableTensors(ValueError):
    """Raised for tensors that cannot be read here."""


def tensors_in(path: Path, beside: list[Any] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every distinct tensor of a file in the order of names; for quantized ones only the shapes.

    Args:
        path: the file.
        beside: a list that collects all other values that were read.

    Raises:
        UnreadableTensors: it holds none that can be read here.
    """
    import pickle

    from safetensors import SafetensorError, safe_open

    beside = [] if beside is None else beside
    try:
        if (said := header(path)) is not None:
            beside += said.get("__metadata__", {}).values()
            with safe_open(path, "pt") as opened:
                for name in sorted(opened.keys()):
                    yield name, _plain(opened.get_tensor(name))
        else:
            found = [(name, _plain(tensor)) for name, tensor in _loaded(path, beside)]
            yield from sorted(found, key=lambda item: item[0])
    except (*BROKEN, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableTensors(reason[:200]) from error


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor with its numbers dense and contiguous.

    Raises:
        UnreadableTensors: it is sparse, quantized, nested, or of numbers that cannot be compared.
    """
    import torch

    if tensor.is_nested or tensor.is_quantized or tensor.layout is not torch.strided:
        raise UnreadableTensors("a tensor that is sparse, nested or quantized")
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    if tensor.device.type != "meta" and tensor.numel():
        # Not every dtype has the operations that comparing models needs.
        flat = tensor.reshape(-1)[:1]
        _ = bool((flat != flat[0]).any()), flat.view(torch.uint8).numpy()
    return tensor


def _loaded(path: Path, beside: list[Any]) -> Iterator[tuple[str, Tensor]]:
    import numpy as np
    import torch

    with open_plain(path) as file:
        head = file.read(8)
    if head.startswith(b"GGUF"):
        yield from _gguf(path)
    elif head.startswith(b"\x93NUMPY"):
        yield "array", torch.from_numpy(np.load(path, allow_pickle=False))
    elif head.startswith(b"PK\x03\x04") and _is_npz(path):
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                array = arrays[name]
                if isinstance(array, np.ndarray) and array.dtype.kind in "fiubc":
                    yield name, torch.from_numpy(np.ascontiguousarray(array))
                else:
                    beside.append(bytes(array))
    elif head.startswith((b"PK\x03\x04", b"\x80\x02")):
        seen: dict[int, int] = {}
        # From the bytes: given a path, torch would go by the file's name.
        with open_plain(path) as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        for name, tensor in _nested("", loaded, beside):
            # Tied weights count once, under the first of their names.
            if not tensor.numel() or tensor.data_ptr() not in seen:
                seen[tensor.data_ptr()] = tensor.nbytes
                yield name, tensor
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                stored = sum(
                    e.file_size for e in archive.infolist() if not e.filename.endswith("/data.pkl")
                )
            # Content that no tensor shows: unused parts of storages, or other members.
            beside.append("-" * max(0, stored - sum(seen.values())))
    else:
        raise UnreadableTensors(f"no reader for {path.suffix or 'such a file'}")


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _nested(name: str, value: Any, beside: list[Any]) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value.detach()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nested(f"{name}.{key}" if name else str(key), inner, beside)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _nested(f"{name}.{number}" if name else str(number), inner, beside)
    else:
        beside.append(value)


def _gguf(path: Path) -> Iterator[tuple[str, Tensor]]:
    import numpy as np
    import torch

    try:
        with extra("smollm2"):
            from gguf import GGMLQuantizationType as Quantized
            from gguf import GGUFReader
    except MissingExtra as error:
        raise UnreadableTensors(str(error)) from None
    for tensor in GGUFReader(path).tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
        data = np.array(tensor.data)
        if tensor.tensor_type in (Quantized.F32, Quantized.F16):
            yield tensor.name, torch.from_numpy(data).reshape(shape)
        elif tensor.tensor_type is Quantized.BF16:
            bits = torch.from_numpy(data.view(np.int16).copy())
            yield tensor.name, bits.view(torch.bfloat16).reshape(shape)
        else:
            # Its numbers are quantized too far to be recognised.
            yield tensor.name, torch.empty(shape, dtype=torch.uint8, device="meta")
