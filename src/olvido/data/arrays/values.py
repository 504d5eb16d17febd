"""Arrays of numbers in records: read once, checked, and never changed after."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError

LARGEST = float(np.finfo(np.float32).max)
"""Models compute in float32: a larger number would become infinite there."""
WHOLE = 2**24
"""Up to here float32 tells whole numbers apart."""


def read_array(value: Any) -> NDArray[Any]:
    """A private, read-only, little-endian copy of an array, a tensor, a picture or a nested list.

    Args:
        value: numbers or truth values of any shape; a Pillow image becomes uint8 with its channels
            first, [channels, height, width]; or what `stored` gives of an array.

    Raises:
        InputError: not an array of numbers, empty, or with a number that is not finite in float32,
            or a whole one that float32 cannot tell from the next.

    >>> read_array([[0, 1], [2, 3]]).shape
    (2, 2)
    """
    if isinstance(value, Mapping):
        value = _unstored(value)
    if hasattr(value, "detach"):
        value = _from_tensor(value)
    if np.ma.is_masked(value):
        raise InputError("'input' has masked numbers, which are none: fill them first")
    if hasattr(value, "getbands"):
        # A palette image holds indices of colours, not colours.
        colours = {"P": "RGB", "PA": "RGBA"}.get(value.mode)
        picture = np.asarray(value.convert(colours) if colours else value)
        value = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    try:
        array = np.array(value, order="C")
    except ValueError:
        raise InputError("'input' is ragged: its lists must all have the same length") from None
    if array.dtype.kind not in "buif":
        raise InputError(
            "'input' must hold numbers (an array, a tensor or nested lists), got "
            f"{array.dtype if isinstance(value, np.ndarray | list | tuple) else type(value)}"
        )
    if array.size == 0:
        raise InputError(f"'input' is empty (shape {array.shape})")
    if array.dtype.kind == "f" and not bool((np.abs(array, dtype=np.float64) <= LARGEST).all()):
        raise InputError("'input' holds nan, inf or a number beyond float32: fill or drop it first")
    if array.dtype.kind in "iu" and not bool(((array >= -WHOLE) & (array <= WHOLE)).all()):
        raise InputError(
            f"'input' holds whole numbers beyond {WHOLE:,}, which float32 cannot tell apart: an id "
            "or a time goes into a column of its own, and a measurement is scaled first"
        )
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    array.setflags(write=False)
    return array


_STORED = frozenset({"data", "dtype", "shape"})


def stored(array: NDArray[Any]) -> dict[str, Any]:
    """An array as plain values, which `read_array` reads again: type, shape, and base64 of it.

    Numbers of 64 bits with a fraction are kept in 32 where none of them changes by it.

    >>> stored(np.array([0.5, 1.0]))
    {'data': 'AAAAPwAAgD8=', 'dtype': '<f4', 'shape': [2]}
    """
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        short = array.astype("<f4")
        array = short if np.array_equal(short, array) else array.astype("<f8")
    text = base64.b64encode(array.tobytes()).decode()
    return {"data": text, "dtype": array.dtype.str, "shape": list(array.shape)}


def _unstored(value: Mapping[str, Any]) -> NDArray[Any]:
    data, dtype, shape = (value.get(name) for name in ("data", "dtype", "shape"))
    if (
        value.keys() != _STORED
        or not isinstance(data, str)
        or not isinstance(dtype, str)
        or not isinstance(shape, list)
    ):
        raise InputError(
            "'input' must hold numbers, or an object with 'dtype', 'shape' and 'data' (base64), "
            f"got an object with {sorted(map(str, value))}"
        )
    try:
        kind, raw = np.dtype(dtype), base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"'input' has a type or data that cannot be read ({error})") from None
    whole = all(type(size) is int and size >= 0 for size in shape)
    if kind.kind not in "buif" or not whole or math.prod(shape) * kind.itemsize != len(raw):
        raise InputError(
            f"'input' has {len(raw)} bytes of data, which are no array of type {kind.str} and "
            f"shape {shape}"
        )
    return np.frombuffer(raw, kind).reshape(shape)


def _from_tensor(tensor: Any) -> Any:
    dtype = str(tensor.dtype)
    try:
        tensor = tensor.detach().cpu()
        # numpy has no floats of fewer than 16 bits, and float32 represents each of theirs exactly.
        short = dtype.startswith(("torch.bfloat", "torch.float8", "torch.float4"))
        return (tensor.float() if short else tensor).numpy()
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"'input' must hold numbers, got a tensor of {dtype} that cannot be read as "
            f"an array ({str(error).splitlines()[0]})"
        ) from error


def read_label(value: Any) -> str:
    """A class name from text or a whole number.

    Raises:
        InputError: something else, or empty text.

    >>> read_label(7)
    '7'
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole and not isinstance(value, str):
        raise InputError(f"'label' must be text or a whole number, got {type(value).__name__}")
    if not str(value).strip():
        raise InputError("'label' is empty; there is nothing to learn from it")
    return str(value)


def array_content(array: NDArray[Any], label: str) -> bytes:
    """The content of an array and its class name, as bytes: dtype, shape, label, then the numbers.

    Each part is separated or of a length that earlier parts determine, so contents never collide.
    """
    shape = ",".join(map(str, array.shape))
    name = label.encode()
    head = f"{array.dtype.str}|{shape}|{len(name)}|".encode()
    return head + name + array.tobytes()
