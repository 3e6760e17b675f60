"""Arrays of weights: float32, or bfloat16, which numpy lacks, as the upper halves of float32.

An array of uint16 always holds bfloat16 here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minivault.errors import ModelUnusable

Array = NDArray[Any]
Floats = NDArray[np.float32]
Bfloat16 = NDArray[np.uint16]

_LINE = 64  # bytes of a line of the processor's caches
_SMALLEST = np.uint16((127 - 56) << 7)  # 2^-56 as bfloat16


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """That begin with a line of the processor's caches, so that no vector lies in two."""
    shape = shape if isinstance(shape, tuple) else (shape,)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + _LINE, np.uint8)
    begin = -room.ctypes.data % _LINE
    return room[begin : begin + size].view(dtype).reshape(shape)


def copied(source: Array) -> Array:
    """One run of the same numbers, as `zeros` places it."""
    room = zeros(source.shape, source.dtype)
    room[...] = source
    return room


def widened(numbers: Array) -> Floats:
    """As float32; what is float32 already is not copied."""
    if numbers.dtype != np.uint16:
        return numbers.astype(np.float32, copy=False)
    return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrowed(numbers: Array) -> Bfloat16:
    """As bfloat16, rounded to the nearest, to the even one of two; what is so is not copied.

    Raises ModelUnusable for a number that is too large.
    """
    if numbers.dtype == np.uint16:
        return numbers
    bits = np.ascontiguousarray(widened(numbers)).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    even += np.uint32(0x7FFF)
    even += bits
    even >>= np.uint32(16)
    found = even.astype(np.uint16)
    if not _is_finite(found):
        raise ModelUnusable("a weight is too large for bfloat16; use --dtype float32")
    return found


def drop_tiny(numbers: Bfloat16) -> None:
    """Makes zeros of what no product of bfloat16 may see; see SMALLEST of bfloat16.h."""
    for part in numbers:
        part[(part & np.uint16(0x7FFF)) < _SMALLEST] = 0


def refuse_no_numbers(name: str, numbers: Array) -> None:
    """Raises ModelUnusable with the name of weights that hold NaN or infinite numbers."""
    if not _is_finite(numbers):
        raise ModelUnusable(
            f"the weights hold NaN or infinite numbers, so no text can be made: {name}"
        )


def _is_finite(numbers: Array) -> bool:
    """A sum tells mostly, and reads them once; where it overflows each is looked at."""
    if numbers.dtype == np.uint16:
        exponent = np.uint16(0x7F80)
        return not ((numbers & exponent) == exponent).any()
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(numbers.sum(dtype=np.float32)):
            return True
    return bool(np.isfinite(numbers).all())
