"""Where generations are found by id or key, while they live and for a while after their end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from minivault.generations.generation import Generation

KEEP_SECONDS = 300.0
KEEP_MOST = 256
KEEP_BYTES = 16 * 2**20


class Shelf:
    """Holds every open generation, and ended ones within bounds of time, number and memory."""

    def __init__(
        self, *, seconds: float = KEEP_SECONDS, most: int = KEEP_MOST, size: int = KEEP_BYTES
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._size = size
        self._by_id: dict[str, Generation] = {}
        self._by_key: dict[tuple[str, str], Generation] = {}
        self._kept: dict[Generation, None] = {}  # ended ones, the oldest first
        self._kept_size = 0

    def __iter__(self) -> Iterator[Generation]:
        return iter(self._by_id.values())

    @property
    def kept(self) -> int:
        """How many ended generations are kept."""
        self.tidy()
        return len(self._kept)

    @property
    def has_open(self) -> bool:
        """Whether one has not ended."""
        return len(self._by_id) > len(self._kept)

    def open(self) -> list[Generation]:
        """Those that have not ended."""
        return [generation for generation in self._by_id.values() if not generation.ended]

    def by_id(self, id: str) -> Generation | None:
        self.tidy()
        return self._by_id.get(id)

    def by_key(self, caller: str, key: str) -> Generation | None:
        self.tidy()
        return self._by_key.get((caller, key))

    def put(self, generation: Generation) -> None:
        """Reserves id and key; a continuation takes the place of what it continues."""
        earlier = self._by_id.get(generation.id)
        if earlier:
            self.drop(earlier)
        self._by_id[generation.id] = generation
        if generation.asked and generation.asked.key:
            self._by_key[generation.visitor.caller, generation.asked.key] = generation

    def keep(self, generation: Generation) -> None:
        """The generation has ended; it can be read for a while."""
        if self._by_id.get(generation.id) is generation:
            self._kept[generation] = None
            self._kept_size += generation.size
            self.tidy()

    def drop(self, generation: Generation) -> None:
        """Forgets a generation, its id and its key."""
        if generation in self._kept:
            del self._kept[generation]
            self._kept_size -= generation.size
        if self._by_id.get(generation.id) is generation:
            del self._by_id[generation.id]
        if generation.asked and generation.asked.key:
            name = (generation.visitor.caller, generation.asked.key)
            if self._by_key.get(name) is generation:
                del self._by_key[name]

    def forget(self, seq: int) -> None:
        """Record `seq` was redacted: what is kept of its text goes."""
        for generation in list(self._kept):
            receipt = generation.events[-1].data.get("receipt") or {}
            if receipt.get("seq") == seq:
                self.drop(generation)

    def tidy(self) -> None:
        """Drops what is too old or too much, the oldest first; never one that is being read."""
        limit = time.monotonic() - self._seconds
        for generation in list(self._kept):
            too_much = len(self._kept) > self._most or self._kept_size > self._size
            if not too_much and (generation.times.ended or 0) > limit:
                return  # and so are all that ended later
            if not generation.heard:
                self.drop(generation)
