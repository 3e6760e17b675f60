"""Arrays of weights: bfloat16 as torch rounds it, and what is no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minivault.engine.native.checkpoint import open_checkpoint
from minivault.engine.native.description import Weights
from minivault.engine.native.library import Memory
from minivault.engine.native.numbers import copied, narrowed, refuse_no_numbers, widened, zeros
from minivault.engine.native.packing import packed
from minivault.engine.runner import Dtype, Unsupported
from minivault.errors import ModelUnusable

DTYPES: tuple[Dtype, ...] = ("int8", "int4")


def test_numbers_are_rounded_as_torch_rounds_them() -> None:
    dice = np.random.default_rng(1)
    bits = dice.integers(0, 2**32, 100_000, np.uint32)
    bits[:4] = 0x3F808000, 0x3F818000, 0x80000000, 0x00008001  # ties, minus nothing, the smallest
    numbers = bits.view(np.float32)
    numbers = numbers[abs(numbers) < 3.38e38]  # bfloat16 has no larger ones
    expected = torch.from_numpy(numbers).bfloat16()
    assert (narrowed(numbers) == expected.view(torch.uint16).numpy()).all()
    assert (widened(narrowed(numbers)) == expected.float().numpy()).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_named(value: float) -> None:
    good = np.full((3, 5), 3e38, np.float32)  # whose sum is none
    bad = good.copy()
    bad[1, 2] = value
    refuse_no_numbers("h.0", good)
    refuse_no_numbers("h.0", narrowed(good / 2))
    halves = narrowed(good / 2)
    halves[2, 2] = int(np.array([value], np.float32).view(np.uint32)[0]) >> 16
    for each in (bad, halves, bad.astype(np.float64)):
        with pytest.raises(ModelUnusable, match=r"NaN or infinite numbers.*: h\.0"):
            refuse_no_numbers("h.0", each)


def test_arrays_begin_with_a_line_of_the_cache() -> None:
    for shape in (1, (3, 7), (64, 33)):
        assert zeros(shape, np.int32).ctypes.data % 64 == 0
    source = np.arange(12.0).reshape(3, 4).T
    assert copied(source).flags.c_contiguous
    assert (copied(source) == source).all()


def test_a_type_that_is_not_known_is_left_to_another_runner(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Unsupported, match="w is of type F8_E4M3"):
        open_checkpoint(tmp_path).tensor("w")


def test_what_the_width_cannot_hold_is_refused_where_it_is_made_so() -> None:
    large = np.full((1, 32), 3.4e38, np.float32)
    with pytest.raises(ModelUnusable, match="too large for bfloat16; use --dtype float32"):
        narrowed(large)
    for dtype in DTYPES:
        with pytest.raises(ModelUnusable, match=f"too large for {dtype}; use --dtype bfloat16"):
            packed(Memory(), dtype, Weights(large / 10))


@pytest.mark.parametrize(
    "entry",
    [
        ["F32", [1], [0, 4]],
        {"dtype": {"F32": None}, "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**64 - 1, 0], "data_offsets": [0, 0]},
        {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},  # of a number that float32 lacks
    ],
    ids=["list", "kind", "shape", "large"],
)
def test_a_header_that_no_file_has_is_an_error_in_a_line(tmp_path: Path, entry: Any) -> None:
    data = np.array([1e300]).tobytes()
    header = json.dumps({"w": entry}).encode()
    size = 0 if "shape" in entry and 0 in entry["shape"] else 4 if "F64" not in str(entry) else 8
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + data[:size])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises((ModelUnusable, Unsupported)):
        open_checkpoint(tmp_path).tensor("w")
