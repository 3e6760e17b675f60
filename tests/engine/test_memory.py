"""Where the numbers of a model lie."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from minivault.engine.native.memory import LargePages, Mapping
from minivault.engine.native.numbers import Array
from minivault.system import has_large_pages

with_large_pages = pytest.mark.skipif(not has_large_pages(), reason="this system has none")


def in_shared_pages() -> tuple[LargePages, list[Array]]:
    large = LargePages()
    matrices = [large.take(576 * 576) for _ in range(96)]
    for each in matrices:
        each[:] = 1
    return large, matrices


@with_large_pages
def test_matrices_smaller_than_a_large_page_lie_in_large_pages_together() -> None:
    large, matrices = in_shared_pages()
    assert not any(each.ctypes.data % 64 for each in matrices)
    assert (large.share() or 0) > 0.5


@with_large_pages
def test_what_lies_in_small_pages_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmap.MADV_HUGEPAGE", mmap.MADV_NOHUGEPAGE)
    large, _ = in_shared_pages()
    assert large.share() == 0


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


@with_large_pages
def test_mapped_files_may_have_any_names(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    with open(path, "w+b") as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        with mmap.mmap(file.fileno(), 0):
            large, _ = in_shared_pages()
            assert large.share() is not None
