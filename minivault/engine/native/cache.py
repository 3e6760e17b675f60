"""Keys and values of all running sequences, laid out as the C files read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.native.library import constants, ffi
from minivault.engine.native.memory import Reserved, Slots
from minivault.engine.native.numbers import Array


class BlockCache:
    """A slot with room for a whole context for every sequence; see attention.h for the layout.

    As bfloat16 where the weights are narrow: attention reads half as much, adds in float32 all the
    same, and half the memory holds a sequence. Keys as bytes where the weights are whole numbers.
    `fields`: of a `struct cache`.
    """

    def __init__(
        self, *, layers: int, slots: int, heads: int, context: int, head_width: int, kind: int
    ) -> None:
        """`kind`: of the keys, FLOAT32, BFLOAT16 or INT8 of `enum kind`."""
        self._block = block = constants.BLOCK
        blocks, padded = -(-context // block), -(-head_width // block) * block
        dtype = np.dtype(np.float32 if kind == constants.FLOAT32 else np.uint16)
        values = keys = block * padded
        if kind == constants.INT8:
            groups, scale = -(-head_width // constants.GROUP), 4
            keys = groups * block * (scale + constants.GROUP) // dtype.itemsize
        size = keys + values
        self.bytes_per_token = layers * heads * size * dtype.itemsize // block
        self._free = Slots(slots)
        self._reserved = Reserved(slots * layers * heads * blocks * size, dtype)
        self._slots = self._reserved.numbers.reshape(slots, layers, heads, blocks, size)
        self.fields: dict[str, Any] = {
            "memory": ffi.cast("void *", self._slots.ctypes.data),
            "kind": kind,
            "layers": layers,
            "heads": heads,
            "blocks": blocks,
            "width": padded,
            "keys": keys,
        }

    @property
    def full(self) -> bool:
        return not self._free.any

    def take(self) -> int:
        """The lowest free slot. IndexError if none is free."""
        return self._free.take()

    def give_back(self, slot: int) -> None:
        """Frees a slot and its memory."""
        self._free.give_back(slot)
        self._reserved.wipe(self._slots[slot])

    def part(self, slot: int, begin: int, end: int) -> Array:
        """A view of one sequence's positions, whole blocks: (layers, heads, blocks, numbers)."""
        return self._slots[slot, :, :, begin // self._block : -(-end // self._block)]
