"""Weights in groups of 32 inputs: whole numbers of 8 or 4 bits, and a scale for each group.

This is what GGUF's Q8_0, Q4_0, Q4_1 and Q4_K are as well, whose bytes are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minivault.engine.native.numbers import Array, Floats
from minivault.errors import ModelUnusable
from minivault.gguf.blocks import group_halves, six_bits
from minivault.gguf.reader import GgufTensor

GROUP = 32
"""Inputs that share a scale; linear.h has it as well."""

Kind = Literal["int8", "int4", "int4_least"]
Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Groups:
    """What (outputs, inputs) weights stand as. With d and m of an output's group, a number q is

    int8: d · (q - 128); int4: d · (q - 8); int4_least: d · q + m. `numbers` (outputs, groups,
    bytes): 32 bytes, or 16 of which each holds number i in its low half and i + 16 in its high one.
    """

    kind: Kind
    numbers: NDArray[np.uint8]
    scale: Halves
    least: Halves | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.numbers), self.numbers.shape[1] * GROUP

    def rows(self, index: NDArray[np.intp] | slice) -> Groups:
        """These outputs, in this order."""
        least = None if self.least is None else self.least[index]
        return Groups(self.kind, self.numbers[index], self.scale[index], least)

    def values(self) -> Floats:
        """What they stand for: (outputs, inputs)."""
        q = self.numbers
        if self.kind != "int8":
            q = np.concatenate([q & 15, q >> 4], axis=2)
        zero = {"int8": 128, "int4": 8, "int4_least": 0}[self.kind]
        scaled = self.scale.astype(np.float32)[..., None] * (q.astype(np.float32) - zero)
        if self.least is not None:
            scaled = scaled + self.least.astype(np.float32)[..., None]
        return scaled.reshape(self.shape)


def joined(parts: Sequence[Array | Groups]) -> Array | Groups:
    """The outputs of all, one after the other. They are of one kind."""
    groups = [each for each in parts if isinstance(each, Groups)]
    if not groups:
        return np.concatenate([each for each in parts if not isinstance(each, Groups)])
    assert len(groups) == len(parts)
    assert len({each.kind for each in groups}) == 1
    leasts = [each.least for each in groups if each.least is not None]
    return Groups(
        groups[0].kind,
        np.concatenate([each.numbers for each in groups]),
        np.concatenate([each.scale for each in groups]),
        np.concatenate(leasts) if leasts else None,
    )


def quantized(weight: Floats, bits: Literal[8, 4]) -> Groups:
    """The nearest numbers; a scale reaches a group's largest weight, or from its least to that.

    Inputs are filled up with zeros to whole groups.
    """
    outputs, inputs = weight.shape
    weight = np.ascontiguousarray(weight)  # as the numbers of a group are, then
    filled = np.pad(weight, ((0, 0), (0, -inputs % GROUP))) if inputs % GROUP else weight
    groups = filled.reshape(outputs, -1, GROUP)
    if bits == 8:
        scale = _not_below(np.abs(groups).max(axis=2) / np.float32(127))
        return Groups("int8", (_steps(groups, scale) + 128).astype(np.uint8), scale)
    least = -_not_below(-groups.min(axis=2))
    rest = groups - least.astype(np.float32)[..., None]
    scale = _not_below(rest.max(axis=2) / np.float32(15))
    return Groups("int4_least", _in_halves(_steps(rest, scale).astype(np.uint8)), scale, least)


def from_gguf(tensor: GgufTensor) -> Groups:
    """A tensor's blocks, permuted; types of other groups or other bits are quantized to 8.

    The outputs are the first of its two dimensions, and its inputs whole groups.
    """
    blocks = tensor.blocks
    size = tensor.type.nbytes
    parts = blocks.reshape(len(blocks), -1, size)
    match tensor.type.name:
        case "Q8_0":
            return Groups("int8", parts[..., 2:] ^ np.uint8(0x80), _half(parts, 0))
        case "Q4_0":
            return Groups("int4", parts[..., 2:], _half(parts, 0))
        case "Q4_1":
            return Groups("int4_least", parts[..., 4:], _half(parts, 0), _half(parts, 2))
        case "Q4_K":
            return _from_q4_k(parts)
    return quantized(tensor.values(), 8)


def refuse_no_numbers(groups: Groups, name: str) -> None:
    """Raises ModelUnusable where a scale is infinite or no number; all else is finite."""
    for each in (groups.scale, groups.least):
        if each is not None and not np.isfinite(each).all():
            raise ModelUnusable(f"the weights hold what is no number: {name}")


def _from_q4_k(parts: NDArray[np.uint8]) -> Groups:
    """256 weights with two scales; those of its groups are 6 bits each. Rounded to float16 here."""
    outputs = len(parts)
    flat = np.ascontiguousarray(parts).reshape(-1, parts.shape[-1])
    scales, leasts = six_bits(flat[:, 4:16])
    whole = flat[:, :4].copy().view("<f2").astype(np.float32)
    with np.errstate(over="ignore"):  # `refuse_no_numbers` sees what is too large
        scale = (whole[:, :1] * scales).astype(np.float16)
        least = (-whole[:, 1:] * leasts).astype(np.float16)
    numbers = _in_halves(group_halves(flat[:, 16:]))
    return Groups(
        "int4_least",
        numbers.reshape(outputs, -1, GROUP // 2),
        scale.reshape(outputs, -1),
        least.reshape(outputs, -1),
    )


def _half(parts: NDArray[np.uint8], at: int) -> Halves:
    found: Halves = parts[..., at : at + 2].copy().view("<f2")[..., 0]
    return found


def _in_halves(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(…, 32) numbers below 16 in 16 bytes."""
    return numbers[..., : GROUP // 2] | numbers[..., GROUP // 2 :] << np.uint8(4)


def _not_below(values: Floats) -> Halves:
    """The float16 that is not less, so that no weight lies beyond the last step."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float16)
        return np.where(near < values, np.nextafter(near, np.float16(np.inf)), near)


def _steps(groups: Floats, scale: Halves) -> Floats:
    steps = scale.astype(np.float32)[..., None]
    return np.rint(np.divide(groups, steps, out=np.zeros_like(groups), where=steps > 0))
