"""The blocks that GGUF packs weights in, and the float32 values they stand for.

A row of a tensor is a run of blocks; a block holds so many weights that lie side by side along the
inputs of one output. The layouts are ggml's (`ggml-common.h`), little-endian; a scale is a float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint8]
"""(blocks, bytes of one block)."""

Floats = NDArray[np.float32]
"""(blocks, weights of one block)."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """One way to store weights: `weights` of them in every `nbytes` bytes."""

    name: str
    weights: int
    nbytes: int
    dequantize: Callable[[Blocks], Floats]

    def values(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The float32 values of rows of blocks: (…, bytes) becomes (…, weights)."""
        blocks = np.ascontiguousarray(rows).reshape(-1, self.nbytes)
        with np.errstate(all="ignore"):  # a damaged scale may be no number; the engine sees that
            values = self.dequantize(blocks)
        return values.reshape(*rows.shape[:-1], rows.shape[-1] // self.nbytes * self.weights)


#: What is read, by the number that a file gives it.
BLOCK_TYPES: dict[int, BlockType] = {}


def _stored_as(
    number: int, name: str, *, weights: int, nbytes: int
) -> Callable[[Callable[[Blocks], Floats]], Callable[[Blocks], Floats]]:
    """Says of a function which blocks it reads."""

    def add(dequantize: Callable[[Blocks], Floats]) -> Callable[[Blocks], Floats]:
        BLOCK_TYPES[number] = BlockType(name, weights, nbytes, dequantize)
        return dequantize

    return add


@_stored_as(0, "F32", weights=1, nbytes=4)
def _f32(blocks: Blocks) -> Floats:
    return blocks.view("<f4").astype(np.float32)


@_stored_as(1, "F16", weights=1, nbytes=2)
def _f16(blocks: Blocks) -> Floats:
    return blocks.view("<f2").astype(np.float32)


@_stored_as(30, "BF16", weights=1, nbytes=2)
def _bf16(blocks: Blocks) -> Floats:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


@_stored_as(8, "Q8_0", weights=32, nbytes=34)
def _q8_0(blocks: Blocks) -> Floats:
    """Scale, 32 signed bytes."""
    return _scale(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


@_stored_as(2, "Q4_0", weights=32, nbytes=18)
def _q4_0(blocks: Blocks) -> Floats:
    """Scale, 16 bytes: weight i in the low half of byte i, weight i + 16 in its high half."""
    return _scale(blocks, 0) * (_halves(blocks[:, 2:]) - np.float32(8))


@_stored_as(3, "Q4_1", weights=32, nbytes=20)
def _q4_1(blocks: Blocks) -> Floats:
    """Scale, least value, then as Q4_0."""
    return _scale(blocks, 0) * _halves(blocks[:, 4:]) + _scale(blocks, 2)


@_stored_as(6, "Q5_0", weights=32, nbytes=22)
def _q5_0(blocks: Blocks) -> Floats:
    """Scale, 32 bits that are the fifth of each weight, then as Q4_0."""
    return _scale(blocks, 0) * (_with_fifth(blocks[:, 6:], blocks[:, 2:6]) - np.float32(16))


@_stored_as(7, "Q5_1", weights=32, nbytes=24)
def _q5_1(blocks: Blocks) -> Floats:
    """Scale, least value, then as Q5_0."""
    return _scale(blocks, 0) * _with_fifth(blocks[:, 8:], blocks[:, 4:8]) + _scale(blocks, 2)


@_stored_as(12, "Q4_K", weights=256, nbytes=144)
def _q4_k(blocks: Blocks) -> Floats:
    """Two scales, 8 × 6 bits for scales and as many for least values, 4 × 32 bytes of halves."""
    return _by_groups(blocks, group_halves(blocks[:, 16:]))


@_stored_as(13, "Q5_K", weights=256, nbytes=176)
def _q5_k(blocks: Blocks) -> Floats:
    """As Q4_K; 32 bytes before the halves: bit j of byte i is the fifth of weight i of group j."""
    groups = np.arange(8, dtype=np.uint8)[None, :, None]
    fifth = (blocks[:, 16:48][:, None, :] >> groups & 1) << 4
    return _by_groups(blocks, group_halves(blocks[:, 48:]) + fifth)


@_stored_as(14, "Q6_K", weights=256, nbytes=210)
def _q6_k(blocks: Blocks) -> Floats:
    """128 bytes of lower halves, 64 of upper bit pairs, 16 signed scales of 16 weights, a scale.

    Every 128 weights: four groups of 32, of which two share their bytes of halves and all four
    their bytes of pairs.
    """
    count = len(blocks)
    halves = blocks[:, :128].reshape(count, 2, 1, 64)
    lower = np.concatenate([halves & 15, halves >> 4], axis=2).reshape(count, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    upper = (blocks[:, 128:192].reshape(count, 2, 1, 32) >> shifts & 3) << 4
    scales = _scale(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    weights = (lower | upper).reshape(count, 16, 16).astype(np.float32) - np.float32(32)
    values: Floats = (scales[:, :, None] * weights).reshape(count, 256)
    return values


def _scale(blocks: Blocks, at: int) -> Floats:
    """The float16 at a place of each block, as a column."""
    scales: Floats = np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)
    return scales


def _halves(packed: Blocks) -> Floats:
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def _with_fifth(packed: Blocks, fifth: Blocks) -> Floats:
    bits: NDArray[np.uint8] = np.unpackbits(fifth, axis=1, bitorder="little")
    return _halves(packed) + (bits << 4).astype(np.float32)


def group_halves(packed: Blocks) -> NDArray[np.uint8]:
    """(blocks, 8 groups, 32): of 32 bytes the low halves are one group, the high ones the next."""
    runs = packed.reshape(len(packed), 4, 1, 32)
    return np.concatenate([runs & 15, runs >> 4], axis=2).reshape(len(packed), 8, 32)


def _by_groups(blocks: Blocks, weights: NDArray[np.uint8]) -> Floats:
    """Each group's weights times its scale, less its least value."""
    scales, least = six_bits(blocks[:, 4:16])
    scaled = (_scale(blocks, 0) * scales)[:, :, None] * weights.astype(np.float32)
    return (scaled - (_scale(blocks, 2) * least)[:, :, None]).reshape(len(blocks), 256)


def six_bits(packed: Blocks) -> tuple[Floats, Floats]:
    """The 8 scales and the 8 least values in 12 bytes: 4 scales, 4 least values, then the lower
    halves of the last four of both; their upper two bits top the first eight bytes."""
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6 << 4)], axis=1)
    least = np.concatenate([second & 63, (last >> 4) | (second >> 6 << 4)], axis=1)
    return scales.astype(np.float32), least.astype(np.float32)


#: Others that files use, so that a refusal can name them.
UNREAD_TYPES = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}
