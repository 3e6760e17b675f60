"""Large blocks of memory whose pages exist once they are touched, and can be given back."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from bisect import insort
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGE_PAGE = 2 << 20

# /proc/self/smaps: of each mapping the addresses, then its sizes in KiB.
_MAPPED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ", re.MULTILINE)
_SIZE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


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


class Mapping:
    """Zeroed bytes, whose pages exist once they are touched, and can be given back.

    `bytes` begins a large page, of which a mapping has only whole ones; `large` asks for these.
    """

    def __init__(self, nbytes: int, *, large: bool) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        size = -(-nbytes // LARGE_PAGE) * LARGE_PAGE
        self._memory = mmap.mmap(-1, size + LARGE_PAGE, flags=flags)
        if large and hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        everything = np.frombuffer(self._memory, np.uint8)
        self._begin = -everything.ctypes.data % LARGE_PAGE
        self.bytes = everything[self._begin : self._begin + size]

    def wipe(self, begin: int, end: int) -> None:
        """Zeroes these bytes. Only Linux promises zeros of new pages."""
        page = mmap.PAGESIZE
        first, last = -(-begin // page) * page, end // page * page
        if sys.platform != "linux" or first >= last:
            self.bytes[begin:end] = 0
            return
        self.bytes[begin:first] = self.bytes[last:end] = 0
        self._memory.madvise(mmap.MADV_DONTNEED, self._begin + first, last - first)


def give_back_free() -> None:
    """Gives memory that was freed back to the system, which glibc by itself keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class LargePages:
    """Room in pages of megabytes where the system has them: long runs are read up to twice as fast.

    Such a page must lie in one mapping as a whole, and most matrices are no larger than that: so
    they share mappings.
    """

    _SHARED = 64 << 20  # what is not touched takes no memory

    def __init__(self) -> None:
        self._free = np.empty(0, np.uint8)
        self._mappings: list[NDArray[np.uint8]] = []

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """Zeroed bytes that begin a cache line."""
        if nbytes > len(self._free):
            self._free = Mapping(max(nbytes, self._SHARED), large=True).bytes
            self._mappings.append(self._free)
        taken, self._free = self._free[:nbytes], self._free[nbytes + -nbytes % 64 :]
        return taken

    def share(self) -> float | None:
        """Of what was written here, what lies in large pages now; None where nobody can say."""
        begins = [each.ctypes.data for each in self._mappings]
        try:
            # Names of mapped files are any bytes.
            told = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        parts = _MAPPED.split(told)[1:]
        held = large = 0
        for first, last, facts in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if any(int(first, 16) <= begin < int(last, 16) for begin in begins):
                sizes = dict(_SIZE.findall(facts))
                if not {"Anonymous", "AnonHugePages"} <= sizes.keys():  # not Linux's own
                    return None
                held += int(sizes["Anonymous"])
                large += int(sizes["AnonHugePages"])
        return large / held if held else None
