"""Where the numbers of a model lie."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from minivault.engine.native.memory import LargePages, Mapping
from minivault.system import has_large_pages

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ", re.MULTILINE)


@pytest.mark.skipif(not has_large_pages(), reason="the system has no large pages")
def test_matrices_smaller_than_a_large_page_lie_in_large_pages_together() -> None:
    large = LargePages()
    matrices = [large.take(576 * 576) for _ in range(96)]
    for each in matrices:
        each[:] = 1
    begins = [each.ctypes.data for each in matrices]
    assert not any(begin % 64 for begin in begins)
    in_large = sum(_bytes_in_large_pages(begins))
    assert in_large > sum(each.nbytes for each in matrices) / 2


def test_room_is_given_once() -> None:
    large = LargePages()
    pieces = [large.take(size) for size in (1, 100, 64 << 20, 1 << 20, 65)]
    for number, each in enumerate(pieces, 1):
        assert not each.any()
        each[:] = number
    assert [set(each.tolist()) for each in pieces if each.nbytes < 1000] == [{1}, {2}, {5}]
    assert all((each == number).all() for number, each in enumerate(pieces, 1))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("begin, end", [(0, 8192), (2000, 20_001), (5, 12), (4096, 5 << 20)])
def test_freed_memory_is_zero_and_its_neighbours_are_not(begin: int, end: int, large: bool) -> None:
    mapping = Mapping(5 << 20, large=large)
    mapping.bytes[:] = 1
    mapping.wipe(begin, end)
    assert not mapping.bytes[begin:end].any()
    assert np.count_nonzero(mapping.bytes) == len(mapping.bytes) - (end - begin)


def _bytes_in_large_pages(addresses: list[int]) -> list[int]:
    """Of the mappings in which the addresses lie."""
    maps = Path("/proc/self/smaps").read_text()
    found = list(_MAPPING.finditer(maps))
    ends = [each.start() for each in found[1:]] + [len(maps)]
    return [
        int(re.search(r"^AnonHugePages: +(\d+) kB$", maps[each.end() : end], re.MULTILINE)[1]) << 10  # type: ignore[index]
        for each, end in zip(found, ends, strict=True)
        if any(int(each[1], 16) <= address < int(each[2], 16) for address in addresses)
    ]
