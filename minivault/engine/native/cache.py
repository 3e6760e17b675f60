"""Keys and values of all running sequences, laid out as the C files read them."""

from __future__ import annotations

import torch
from torch import Tensor

from minivault.engine.native import library
from minivault.engine.native.library import BLOCK
from minivault.engine.native.memory import Reserved, Slots


class BlockCache:
    """A slot with room for a whole context for every sequence; see attention.h for the layout.

    As bfloat16 where the weights are narrow: attention reads half as much, adds in float32 all the
    same, and half the memory holds a sequence.
    """

    def __init__(
        self, *, layers: int, slots: int, heads: int, positions: int, width: int, narrow: bool
    ) -> None:
        blocks, padded = -(-positions // BLOCK), -(-width // BLOCK) * BLOCK
        dtype = torch.bfloat16 if narrow else torch.float32
        size = 2 * BLOCK * padded
        self.bytes_per_token = layers * heads * size * dtype.itemsize // BLOCK
        self._free = Slots(slots)
        self._reserved = Reserved(slots * layers * heads * blocks * size, dtype)
        self._slots = self._reserved.numbers.view(slots, layers, heads, blocks, size)
        self.structure = library.Cache(
            self._slots.data_ptr(), narrow, layers, heads, blocks, padded
        )

    def take(self) -> int:
        """The lowest free slot. IndexError if none is free."""
        return self._free.take()

    def give_back(self, slot: int) -> None:
        self._free.give_back(slot)
        self._reserved.wipe(self._slots[slot])

    def part(self, slot: int, begin: int, end: int) -> Tensor:
        """A view of one sequence's positions, whole blocks: (layers, heads, blocks, numbers)."""
        return self._slots[slot, :, :, begin // BLOCK : -(-end // BLOCK)]
