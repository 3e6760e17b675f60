"""Attention over keys that are bytes: near to that over floats, exact where it has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivault.engine.native import library
from minivault.engine.native.cache import BlockCache
from minivault.engine.native.library import constants, ffi
from minivault.engine.native.memory import LARGE_PAGE
from minivault.engine.native.numbers import Floats, zeros
from tests.engine.gpt2_models import load, save_gpt2
from tests.tools import older_processors, tool

pytestmark = pytest.mark.usefixtures("compiler")
WITHOUT_FUSED_SUMS = ("-march=x86-64",)
CONTEXT, HEADS, SHARED = 96, 2, 3  # positions, heads of keys, queries that share one
every_width = pytest.mark.parametrize("width", [20, 32, 64, 80])
every_target = pytest.mark.parametrize(
    "target", [None, *older_processors()], ids=lambda flags: " ".join(flags or ())
)


@pytest.fixture(scope="module")
def compiler() -> str:
    return tool("cc")


def attend(
    queries: Floats,
    keys: Floats,
    values: Floats,
    *,
    kind: int,
    window: int = 0,
    target: tuple[str, ...] | None = None,
) -> Floats:
    """What a text's rows come to, at positions 0 and on: (rows, heads, width)."""
    rows, heads, width = queries.shape
    cache = BlockCache(
        layers=1, slots=2, heads=keys.shape[1], context=CONTEXT, head_width=width, kind=kind
    )
    projected = np.concatenate([each.reshape(rows, -1) for each in (queries, keys, values)], 1)
    places = np.array([(1, position) for position in range(rows)], np.int32)
    mixed = zeros((rows, heads, width))
    scores = zeros((1, constants.QUERIES, CONTEXT + width + constants.BLOCK))
    _, functions = library.loaded(target)
    held: Any = ffi.new("struct cache *", cache.fields)
    job = {
        "cache": held,
        "places": ffi.cast("struct place *", places.ctypes.data),
        "projected": ffi.cast("float *", projected.ctypes.data),
        "mixed": ffi.cast("float *", mixed.ctypes.data),
        "scores": ffi.cast("float *", scores.ctypes.data),
        "heads": heads,
        "head_width": width,
        "window": window,
        "scale": width**-0.5,
    }
    team = functions.team_new(1)
    functions.team_wake(team)
    functions.attention_run(team, ffi.new("struct attention *", job), rows)
    functions.team_rest(team)
    functions.team_free(team)
    return mixed


def drawn(width: int, rows: int = 70) -> tuple[Floats, Floats, Floats]:
    """Queries, keys and values."""
    dice = np.random.default_rng(width)
    shapes = [(rows, heads, width) for heads in (HEADS * SHARED, HEADS, HEADS)]
    queries, keys, values = (dice.standard_normal(each).astype(np.float32) for each in shapes)
    return queries, keys, values


@every_width
@every_target
def test_keys_in_bytes_are_near_to_floats(width: int, target: tuple[str, ...] | None) -> None:
    numbers = drawn(width)
    for window in (0, 21):
        exact = attend(*numbers, kind=constants.FLOAT32, window=window)
        narrow = attend(*numbers, kind=constants.INT8, window=window, target=target)
        assert np.abs(narrow - exact).max() < 0.03
    if target != WITHOUT_FUSED_SUMS:
        assert (narrow == attend(*numbers, kind=constants.INT8, window=21)).all()


def test_one_large_number_costs_the_others_little() -> None:
    """As keys of real models have them: one scale for all would leave the others few steps."""
    queries, keys, values = drawn(32)
    queries[..., 5] = 0
    keys[..., 5] = 100
    exact = attend(queries, keys, values, kind=constants.FLOAT32)
    narrow = attend(queries, keys, values, kind=constants.INT8)
    assert np.abs(narrow - exact).max() < 0.15


@every_width
def test_keys_of_zeros_score_nothing(width: int) -> None:
    queries, keys, values = drawn(width)
    narrow = attend(queries, 0 * keys, values, kind=constants.INT8)
    assert (narrow == attend(queries, 0 * keys, values, kind=constants.BFLOAT16)).all()
    assert (attend(0 * queries, keys, values, kind=constants.INT8) == narrow).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_stays_where_it_is(wrong: float) -> None:
    """With its head, and with the rows that look at it."""
    queries, keys, values = drawn(64)
    expected = attend(queries, keys, values, kind=constants.INT8)
    keys[40, 1, 3] = wrong
    found = attend(queries, keys, values, kind=constants.INT8)
    assert np.isnan(found[40:, SHARED:]).all()
    found[40:, SHARED:] = expected[40:, SHARED:]
    assert (found == expected).all()


def test_keys_are_bytes_where_the_weights_are_whole_numbers(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path)
    kinds = {
        dtype: load(folder, dtype=dtype)._decoder.cache.fields["kind"]
        for dtype in ("float32", "bfloat16", "int8", "int4")
    }
    byte = constants.INT8
    assert list(kinds.values()) == [constants.FLOAT32, constants.BFLOAT16, byte, byte]


def test_a_token_takes_as_much_memory_as_its_numbers() -> None:
    def bytes_of(width: int, kind: int) -> int:
        cache = BlockCache(layers=3, slots=1, heads=2, context=100, head_width=width, kind=kind)
        assert cache.part(cache.take(), 0, 100).nbytes == 112 * cache.bytes_per_token
        return int(cache.bytes_per_token) // 6

    assert bytes_of(64, constants.FLOAT32) == 4 * 64 + 4 * 64
    assert bytes_of(64, constants.BFLOAT16) == 2 * 64 + 2 * 64
    assert bytes_of(64, constants.INT8) == 64 + 2 * 4 + 2 * 64
    assert bytes_of(20, constants.INT8) == 32 + 4 + 2 * 32


def test_a_text_fills_whole_large_pages_from_the_beginning_of_one() -> None:
    """As its memory grows in one run, it takes as many as its tokens need."""
    cache = BlockCache(
        layers=30, slots=2, heads=3, context=200, head_width=64, kind=constants.BFLOAT16
    )
    texts = [cache.part(cache.take(), 0, 100) for _ in range(2)]
    assert all(each.flags.c_contiguous and len(each) == 7 for each in texts)
    assert not any(each.ctypes.data % LARGE_PAGE for each in texts)


def test_slots_that_are_smaller_than_a_large_page_share_it() -> None:
    cache = BlockCache(
        layers=2, slots=2, heads=1, context=64, head_width=64, kind=constants.BFLOAT16
    )
    one, other = (cache.part(cache.take(), 0, 64) for _ in range(2))
    assert other.ctypes.data - one.ctypes.data == one.nbytes
