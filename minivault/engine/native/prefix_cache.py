"""What texts began with, kept for prompts that begin with the same tokens: a conversation's next
turn above all, whose prompt is the whole conversation so far.

Only whole chunks are kept. The bits of one depend on its tokens and those before it alone, whether
a prefill computed it or it was drawn token by token; so a prompt gets the same text with it as
without.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from torch import Tensor

CHUNK = 64
"""Prompts are prefilled in parts that end at multiples of so many tokens."""


class PrefixCache:
    """Keys and values of chunks, by a key that stands for all tokens up to the chunk's end.

    Holds at most `memory` bytes; what was not used for longest goes first. For one thread.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._chunks: OrderedDict[bytes, Tensor] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def find(self, keys: Sequence[bytes]) -> list[Tensor]:
        """Of the chunks of a prompt, in order, as many from the first on as are kept."""
        found = 0
        while found < len(keys) and keys[found] in self._chunks:
            found += 1
        self.hits += found
        self.misses += len(keys) - found
        for key in reversed(keys[:found]):  # the first chunk is the last to go
            self._chunks.move_to_end(key)
        return [self._chunks[key] for key in keys[:found]]

    def keep(self, key: bytes, chunk: Tensor) -> None:
        """Copies a chunk, where there is room for it."""
        if chunk.nbytes > self._memory or key in self._chunks:
            return
        while self.bytes + chunk.nbytes > self._memory:
            self.bytes -= self._chunks.popitem(last=False)[1].nbytes
        self._chunks[key] = chunk.clone()
        self.bytes += chunk.nbytes


def first_key(group: str) -> bytes:
    """The key before any chunk. A group finds only its own chunks: how fast a prompt is prefilled
    would tell what others had sent."""
    return group.encode()


def next_key(before: bytes, chunk: Sequence[int]) -> bytes:
    """The key of a chunk of these tokens, `before` being that of the one before it."""
    return blake2b(before + b"\0" + array("I", chunk).tobytes(), digest_size=32).digest()
