"""Keys and values of all running sequences, laid out as the C files read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.native.library import constants, ffi
from minivault.engine.native.memory import LARGE_PAGE, Mapping, Slots
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
        slot = blocks * layers * heads * size
        large = slot * dtype.itemsize >= LARGE_PAGE  # where most of one would be used
        apart = slot + (-slot % (LARGE_PAGE // dtype.itemsize) if large else 0)
        self._free = Slots(slots)
        self._memory = Mapping(slots * apart * dtype.itemsize, large=large)
        numbers = self._memory.bytes.view(dtype)[: slots * apart].reshape(slots, apart)
        self._slots = numbers[:, :slot].reshape(slots, blocks, layers, heads, size)
        self.fields: dict[str, Any] = {
            "memory": ffi.cast("void *", numbers.ctypes.data),
            "kind": kind,
            "layers": layers,
            "heads": heads,
            "blocks": blocks,
            "width": padded,
            "keys": keys,
            "slot_size": apart,
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
        size = self._slots.strides[0]
        self._memory.wipe(slot * size, (slot + 1) * size)

    def part(self, slot: int, begin: int, end: int) -> Array:
        """A view of one sequence's positions, whole blocks: (blocks, layers, heads, numbers)."""
        return self._slots[slot, begin // self._block : -(-end // self._block)]
