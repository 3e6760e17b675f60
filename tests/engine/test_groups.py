"""Weights in groups of 32: as a file holds them, or as near as their numbers come."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from minivault.engine.native.groups import Groups, from_gguf, joined, quantized, refuse_no_numbers
from minivault.errors import ModelUnusable
from minivault.gguf.blocks import BLOCK_TYPES
from minivault.gguf.reader import GgufTensor
from tests.gguf.files import TYPE_NUMBERS

KEPT = {"Q8_0": "int8", "Q4_0": "int4", "Q4_1": "int4_least", "Q4_K": "int4_least"}
#: Where the float16 scales of a block are, so that random bytes can be given finite ones.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q5_0": [0], "Q5_1": [0, 2]}
SCALES |= {"Q5_K": [0, 2], "Q6_K": [208]}


def random_tensor(kind: str, outputs: int = 6, inputs: int = 512) -> GgufTensor:
    """Whatever bytes, with scales that are small and finite."""
    dice, block = np.random.default_rng(3), BLOCK_TYPES[TYPE_NUMBERS[kind]]
    shape = outputs, inputs // block.weights, block.nbytes
    blocks = dice.integers(0, 256, shape, np.uint8)
    for at in SCALES[kind]:
        scale = dice.normal(0, 0.02, shape[:2]).astype("<f2")
        blocks[..., at : at + 2] = scale[..., None].view(np.uint8)
    return GgufTensor("it", block, (outputs, inputs), blocks.reshape(outputs, -1))


def drawn(outputs: int, inputs: int, spread: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(0, spread, (outputs, inputs)).astype(np.float32)


def by_groups(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return weight.reshape(len(weight), -1, 32)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_blocks_of_32_are_taken_as_they_are(kind: str) -> None:
    tensor = random_tensor(kind)
    groups = from_gguf(tensor)
    assert groups.kind == KEPT[kind]
    assert np.array_equal(groups.values(), tensor.values())


def test_the_scales_of_a_block_of_256_are_rounded_once() -> None:
    tensor = random_tensor("Q4_K")
    groups = from_gguf(tensor)
    assert groups.kind == KEPT["Q4_K"]
    off = np.abs(groups.values() - tensor.values())
    assert float((off / np.abs(tensor.values()).max()).max()) < 2**-10


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1", "Q5_K", "Q6_K"])
def test_other_blocks_become_8_bits(kind: str) -> None:
    tensor = random_tensor(kind)
    groups = from_gguf(tensor)
    assert groups.kind == "int8"
    largest = np.abs(by_groups(tensor.values())).max(2, keepdims=True)
    off = np.abs(by_groups(groups.values() - tensor.values()))
    assert float((off / largest).max()) < 1 / 253


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("spread", [1e-4, 0.1, 100.0])
def test_a_weight_is_at_most_half_a_step_from_its_number(
    bits: Literal[8, 4], spread: float
) -> None:
    weight = drawn(40, 96, spread)
    weight[0], weight[1, :32] = 0, spread
    weight[2, 40] = 50 * spread  # its group alone is coarse
    groups = by_groups(weight)
    largest = np.abs(groups).max(2, keepdims=True)
    steps = largest / 127 if bits == 8 else np.ptp(groups, axis=2, keepdims=True) / 15
    off = np.abs(by_groups(quantized(weight, bits).values()) - groups)
    assert (off <= steps / 2 * 1.02 + largest * 2**-13 + 2**-24).all()


def test_inputs_are_filled_up_with_zeros() -> None:
    groups = quantized(drawn(3, 41), 8)
    assert groups.shape == (3, 64)
    assert not groups.values()[:, 41:].any()


def test_rows_are_chosen_and_joined() -> None:
    groups = from_gguf(random_tensor("Q4_1"))
    order = np.array([4, 0, 5])
    both = joined([groups.rows(order), groups])
    assert isinstance(both, Groups)
    assert np.array_equal(both.values()[:3], groups.values()[order])
    assert np.array_equal(both.values()[3:], groups.values())


@pytest.mark.parametrize("what", ["scale", "least"])
def test_scales_that_are_no_numbers_are_refused(what: str) -> None:
    groups = from_gguf(random_tensor("Q4_1"))
    refuse_no_numbers(groups, "blk.0.attn_q.weight")
    assert groups.least is not None
    wrong = {"scale": groups.scale, "least": groups.least}
    wrong[what] = wrong[what].copy()
    wrong[what][2, 1] = np.inf
    damaged = Groups(groups.kind, groups.numbers, **wrong)
    with pytest.raises(ModelUnusable, match="no number: blk.0.attn_q.weight"):
        refuse_no_numbers(damaged, "blk.0.attn_q.weight")


def test_weights_beyond_float16_are_refused() -> None:
    with pytest.raises(ModelUnusable, match="no number"):
        refuse_no_numbers(quantized(drawn(1, 32, 1e9), 8), "it")
