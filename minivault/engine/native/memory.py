"""Large blocks of memory whose pages exist once they are touched, and can be given back."""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import insort
from contextlib import suppress

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minivault.engine.native.numbers import Array


class Slots:
    """Numbers of equal places, the lowest free one first, so that used ones lie side by side."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))

    @property
    def any(self) -> bool:
        """Whether one is free."""
        return bool(self._free)

    def take(self) -> int:
        """IndexError if none is free."""
        return self._free.pop(0)

    def give_back(self, slot: int) -> None:
        insort(self._free, slot)


class Reserved:
    """Zeroed numbers; `wipe` gives the pages of a part back to the system."""

    def __init__(self, numbers: int, dtype: DTypeLike) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._memory = mmap.mmap(-1, np.dtype(dtype).itemsize * numbers, flags=flags)
        self.numbers = np.frombuffer(self._memory, dtype)

    def wipe(self, part: Array) -> None:
        """Zeroes a view of `numbers` that is one run. Only Linux promises zeros of new pages."""
        begin = part.ctypes.data - self.numbers.ctypes.data
        end, page = begin + part.nbytes, mmap.PAGESIZE
        first, last = -(-begin // page) * page, end // page * page
        if sys.platform != "linux" or first >= last:
            part[...] = 0
            return
        numbers = np.frombuffer(self._memory, np.uint8)
        numbers[begin:first] = numbers[last:end] = 0
        self._memory.madvise(mmap.MADV_DONTNEED, first, last - first)


def give_back_free() -> None:
    """Gives memory that was freed back to the system, which glibc by itself keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class LargePages:
    """Room in pages of megabytes where the system has them: long runs are read up to twice as fast.

    A page of two megabytes must lie in one mapping as a whole, and most matrices are no larger than
    that: so they share mappings.
    """

    _PAGE, _SHARED = 2 << 20, 64 << 20

    def __init__(self) -> None:
        self._free = np.empty(0, np.uint8)

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """Zeroed bytes that begin a cache line."""
        if nbytes > len(self._free):
            size = max(nbytes, self._SHARED)
            # What is not touched takes no memory.
            memory = mmap.mmap(-1, size + self._PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with suppress(OSError):  # a kernel without them
                    memory.madvise(mmap.MADV_HUGEPAGE)
            numbers = np.frombuffer(memory, np.uint8)
            begin = -numbers.ctypes.data % self._PAGE
            self._free = numbers[begin : begin + size]
        taken, self._free = self._free[:nbytes], self._free[nbytes + -nbytes % 64 :]
        return taken
