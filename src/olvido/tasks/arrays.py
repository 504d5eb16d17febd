"""Arrays of numbers in records: read once, checked, and never changed after."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError

LARGEST = float(np.finfo(np.float32).max)
"""Models compute in float32: a larger number would become infinite there."""


def read_array(value: Any) -> NDArray[Any]:
    """A private, read-only, little-endian copy of an array, a tensor, a picture or a nested list.

    Args:
        value: numbers or truth values of any shape; a Pillow image becomes uint8 with its channels
            first, [channels, height, width].

    Raises:
        InputError: not an array of numbers, empty, or with a number that is not finite in float32.

    >>> read_array([[0, 1], [2, 3]]).shape
    (2, 2)
    """
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
    if array.dtype.kind == "f" and not bool((np.abs(array) <= LARGEST).all()):
        raise InputError("'input' holds nan, inf or a number beyond float32: fill or drop it first")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    array.setflags(write=False)
    return array


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
