"""What texts began with, kept for prompts that begin with the same tokens: a conversation's next
turn above all, whose prompt is the whole conversation so far.

Kept in parts: whole chunks, and what a text had beyond its last one when it ended. The bits of a
token's keys and values depend on it and those before it alone, whether a prefill computed them or
it was drawn; so a prompt gets the same text with them as without, also where it has no more than
the beginning of a part.

The text that ended last stays in its slot until another ends: what its next turn finds there need
not be copied, to pages that the system would have to give first.
"""

from __future__ import annotations

from array import array
from bisect import bisect, bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from hashlib import blake2b

from minivault.engine.native.cache import BlockCache
from minivault.engine.native.numbers import Array
from minivault.engine.native.slot import Slot
from minivault.engine.sequence import Sequence

CHUNK = 64
"""Prompts are prefilled in parts that end at multiples of so many tokens."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """`before` stands for all tokens that came before these."""

    before: bytes
    tokens: Tokens
    numbers: Array

    @property
    def key(self) -> bytes:
        """Stands for all tokens up to the end of these."""
        return _key(self.before, self.tokens)


class PrefixCache:
    """Keys and values of parts of texts; `cache` holds those of running ones.

    Holds at most `memory` bytes; what was not used for longest goes first. `hits` and `misses`
    count tokens of prompts. For one thread.
    """

    def __init__(self, memory: int, cache: BlockCache) -> None:
        self._memory = memory
        self._cache = cache
        self._parts: OrderedDict[bytes, _Part] = OrderedDict()
        # What follows a key, in order: what has most in common with a prompt stands beside the
        # prompt's own place. None is the beginning of another.
        self._after: dict[bytes, list[Tokens]] = {}
        self._left: Slot | None = None  # of the text that ended last, as it was
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def begin(self, group: str, prompt: Tokens) -> Slot:
        """A slot for a text, which begins with what is kept of its prompt.

        Its last token has to be computed: the first one of the text is drawn from that. IndexError
        if no slot is free.
        """
        keys = [first_key(group)]
        used: list[_Part] = []
        length = 0
        while length == CHUNK * len(used):  # else what follows is another text's
            wanted = prompt[length : len(prompt) - 1][:CHUNK]
            part = self._nearest(keys[-1], wanted)
            count = _common(part.tokens, wanted) if part else 0
            if not part or not count:
                break
            used.append(part)
            length += count
            if count == CHUNK:
                keys.append(part.key)
        index, there = self._slot_for(keys)
        for number, part in enumerate(used[there:], there):
            room = self._cache.part(index, number * CHUNK, min(length, (number + 1) * CHUNK))
            room[...] = part.numbers[: len(room)]
        for part in reversed(used):  # the first part is the last to go
            self._parts.move_to_end(part.key)
        self.hits += length
        self.misses += len(prompt) - length
        return Slot(index, length, keys=keys)

    def take(self) -> int:
        """A free slot; that of the text that ended last, if there is no other."""
        if self._cache.full:
            self._drop_left()
        return self._cache.take()

    def keep_chunks(self, slot: Slot, sequence: Sequence, begin: int) -> None:
        """The chunks of a text that have become whole since `begin` tokens of it were computed."""
        for end in range(begin // CHUNK * CHUNK + CHUNK, slot.length + 1, CHUNK):
            slot.keys.append(self._keep(slot, sequence, end - CHUNK, end))

    def end(self, slot: Slot, sequence: Sequence) -> None:
        """Keeps what an ended text has beyond its last whole chunk, too, and frees its slot."""
        end = slot.length - len(slot.rest)
        begin = end // CHUNK * CHUNK
        try:
            if begin < end:
                self._keep(slot, sequence, begin, end)
        finally:
            self._drop_left()
            if slot.length * self._cache.bytes_per_token <= self._memory:
                self._left = Slot(slot.index, keys=slot.keys)
            else:
                self._cache.give_back(slot.index)

    def _slot_for(self, keys: list[bytes]) -> tuple[int, int]:
        """A free slot, and how many of the chunks with these keys it holds."""
        there = _common(self._left.keys, keys) - 1 if self._left else 0
        if not self._left or there < 1:
            return self.take(), 0
        index, self._left = self._left.index, None
        return index, there

    def _drop_left(self) -> None:
        if self._left:
            self._cache.give_back(self._left.index)
            self._left = None

    def _keep(self, slot: Slot, sequence: Sequence, begin: int, end: int) -> bytes:
        """Copies a part, where there is room for it; its key. One that is its beginning goes."""
        numbers = self._cache.part(slot.index, begin, end)
        part = _Part(slot.keys[-1], sequence.part(begin, end), numbers)
        near = self._nearest(slot.keys[-1], part.tokens)
        common = _common(near.tokens, part.tokens) if near else 0
        if numbers.nbytes > self._memory or common == end - begin:
            return part.key
        if near and common == len(near.tokens):
            self._drop(near)
        while self.bytes + numbers.nbytes > self._memory:
            self._drop(next(iter(self._parts.values())))
        self._parts[part.key] = replace(part, numbers=numbers.copy())
        insort(self._after.setdefault(slot.keys[-1], []), part.tokens)
        self.bytes += numbers.nbytes
        return part.key

    def _nearest(self, before: bytes, tokens: Tokens) -> _Part | None:
        """Of what follows a key, the part that has most in common with these tokens."""
        known = self._after.get(before, [])
        place = bisect(known, tokens)
        beside = known[max(0, place - 1) : place + 1]
        found = max(beside, key=lambda each: _common(each, tokens), default=None)
        return None if found is None else self._parts[_key(before, found)]

    def _drop(self, part: _Part) -> None:
        del self._parts[part.key]
        self.bytes -= part.numbers.nbytes
        known = self._after[part.before]
        del known[bisect_left(known, part.tokens)]
        if not known:
            del self._after[part.before]


def first_key(group: str) -> bytes:
    """The key before any token. A group finds only its own parts: how fast a prompt is prefilled
    would tell what others had sent."""
    return group.encode()


def _key(before: bytes, tokens: Tokens) -> bytes:
    return blake2b(before + b"\0" + array("I", tokens).tobytes(), digest_size=32).digest()


def _common(one: Items[object], other: Items[object]) -> int:
    """How many of them both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
