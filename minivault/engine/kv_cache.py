"""Keys and values of all running sequences in one block of memory, and attention over them.

Every sequence has a slot with room for a whole context. The memory is only reserved: pages count
when they are written, and go back to the system when the slot is freed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minivault.engine.memory import Reserved, Slots

COLUMNS = 16
"""Attention covers so many positions more at a time, so that its shape seldom changes."""

_FEWEST_PRODUCTS = 400  # below this torch multiplies by another kernel, with other bits
_GROUP_COST = 96  # one more group costs as much time as so many columns of one sequence


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one cache holds: layers, slots, heads, positions of a slot, width of a head."""

    layers: int
    slots: int
    heads: int
    positions: int
    width: int

    @classmethod
    def for_context(
        cls, layers: int, slots: int, heads: int, context: int, width: int
    ) -> CacheShape:
        """A shape whose slots hold at least `context` positions, in whole steps of attention."""
        positions = max(_rounded(context), _fewest_columns(width))
        return cls(layers, slots, heads, positions, width)

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.heads * self.width * 4


class KvCache:
    """Keys and values in float32, which a CPU multiplies faster than anything narrower."""

    def __init__(self, shape: CacheShape, device: torch.device) -> None:
        self.shape = shape
        self._free = Slots(shape.slots)
        self._reserved, flat = _reserve(shape, device)
        per_layer = (shape.layers, 2, shape.slots * shape.heads, shape.positions, shape.width)
        halves = flat.view(per_layer)
        self.keys = [layer[0] for layer in halves]
        self.values = [layer[1] for layer in halves]
        self.rows = list(flat.view(shape.layers, -1, shape.width))
        self._slots = flat.view(
            shape.layers, 2, shape.slots, shape.heads, shape.positions, shape.width
        )
        self.starts = _starts(shape, device)

    def take(self) -> int:
        """The lowest free slot, so that running ones lie side by side. IndexError if none is."""
        return self._free.take()

    def give_back(self, slot: int) -> None:
        self._free.give_back(slot)
        self.wipe(slot)

    def wipe(self, slot: int) -> None:
        """Zeroes a slot; where the system can, by giving its memory back."""
        for piece in self._slots[:, :, slot].flatten(0, 1):  # one run of bytes in each half
            if self._reserved is None:
                piece.zero_()
            else:
                self._reserved.wipe(piece)

    def part(self, slot: int, begin: int, end: int) -> Tensor:
        """A view of one sequence's positions: (layers, 2, heads, end - begin, width)."""
        return self._slots[:, :, slot, :, begin:end]


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbours in the batch and in the cache, attended together over `columns` positions."""

    rows: slice
    lanes: slice  # slots × heads
    columns: int
    mask: Tensor  # (rows × heads, 1, columns): 0 where a position is used, -inf elsewhere


def grouped(cache: KvCache, slots: Sequence[int], lengths: Sequence[int]) -> list[Group]:
    """Groups of one decoding step: `slots` ascend, `lengths` count the position being made.

    A group costs one round of operators, a short row beside a long one costs the difference: rows
    are put together while that is the cheaper of the two.
    """
    device = cache.starts.device
    groups = []
    begin = 0
    for end in range(1, len(slots) + 1):
        if end == len(slots) or _apart(slots, lengths, begin, end):
            groups.append(_group(cache, slots[begin], range(begin, end), lengths, device))
            begin = end
    return groups


def write(cache: KvCache, layer: int, places: Tensor, keys_values: Tensor) -> None:
    """Puts (rows, 2, heads, width) where `places` (rows, 2, heads) says; see `places_of`."""
    cache.rows[layer].index_put_((places,), keys_values)


def places_of(cache: KvCache, slots: Tensor, positions: Tensor) -> Tensor:
    """Where each row's keys and values go: (rows, 2, heads), the same in every layer."""
    return cache.starts[slots] + positions[:, None, None]


def attend(
    cache: KvCache, layer: int, group: Group, queries: Tensor, scale: float, out: Tensor
) -> None:
    """Attention of queries (rows × heads, 1, width) of one group into `out`, of the same shape.

    Two batched products and a softmax over a mask: unlike a fused kernel, the bits of a row depend
    neither on its place, nor on what is beside it, nor on how far the group is padded.
    """
    keys = cache.keys[layer][group.lanes, : group.columns]
    values = cache.values[layer][group.lanes, : group.columns]
    scores = torch.baddbmm(group.mask, queries, keys.transpose(1, 2), alpha=scale)
    torch.bmm(torch.softmax(scores, -1), values, out=out)


def attend_part(
    cache: KvCache, layer: int, slot: int, queries: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """Attention of one sequence's part of a prompt: (heads, rows, width); mask (rows, columns)."""
    heads = cache.shape.heads
    lanes = slice(slot * heads, (slot + 1) * heads)
    keys = cache.keys[layer][lanes, : mask.shape[1]]
    values = cache.values[layer][lanes, : mask.shape[1]]
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(torch.softmax(scores, -1), values)


def causal_mask(begin: int, end: int, device: torch.device) -> Tensor:
    """For positions begin…end-1 over columns 0…end-1: each sees itself and what is before it."""
    hidden = torch.full((end - begin, end), float("-inf"), device=device)
    return torch.triu(hidden, diagonal=begin + 1)


def _apart(slots: Sequence[int], lengths: Sequence[int], begin: int, end: int) -> bool:
    """Whether row `end` should begin a new group instead of joining begin…end-1."""
    if slots[end] != slots[end - 1] + 1:
        return True
    longest = max(lengths[begin:end])
    more = lengths[end] - longest
    wasted = more * (end - begin) if more > 0 else -more
    return wasted > _GROUP_COST


def _group(
    cache: KvCache, slot: int, rows: range, lengths: Sequence[int], device: torch.device
) -> Group:
    heads = cache.shape.heads
    used = [lengths[row] for row in rows]
    columns = max(_rounded(max(used)), _fewest_columns(cache.shape.width))
    counts = torch.tensor(used, device=device).repeat_interleave(heads)[:, None]
    hidden = torch.arange(columns, device=device) >= counts
    mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, float("-inf"))
    lanes = slice(slot * heads, (slot + len(rows)) * heads)
    return Group(slice(rows.start, rows.stop), lanes, columns, mask[:, None])


def _fewest_columns(width: int) -> int:
    """How many columns attention takes at least, so that one kernel serves every shape."""
    return _rounded(-(-_FEWEST_PRODUCTS // width))


def _rounded(tokens: int) -> int:
    return -(-tokens // COLUMNS) * COLUMNS


def _reserve(shape: CacheShape, device: torch.device) -> tuple[Reserved | None, Tensor]:
    """Zeroed float32 memory for the whole cache."""
    numbers = shape.bytes_per_token // 4 * shape.slots * shape.positions
    if device.type != "cpu":
        return None, torch.zeros(numbers, device=device)
    reserved = Reserved(numbers, torch.float32)
    return reserved, reserved.numbers


def _starts(shape: CacheShape, device: torch.device) -> Tensor:
    """The row of position 0 of every slot, half and head: (slots, 2, heads)."""
    lanes = torch.arange(shape.slots * shape.heads, device=device)
    lanes = lanes.view(shape.slots, 1, shape.heads) * shape.positions
    half = shape.slots * shape.heads * shape.positions
    return torch.cat([lanes, lanes + half], 1)
