"""Prefilled beginnings of prompts, kept for later prompts that begin with the same tokens.

Only whole chunks that a prefill computed are kept: their bits depend on their tokens alone, so a
prompt gets the same text with them as without.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

CHUNK = 64
"""Prompts are prefilled in parts that end at multiples of so many tokens."""


class PrefixCache:
    """Keys and values of chunks, by all tokens from the prompt's begin to the chunk's end.

    A group finds only its own: how fast a prompt is prefilled would tell what others had sent.

    Holds at most `memory` bytes; what was not used for longest goes first. For one thread.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._chunks: OrderedDict[bytes, Tensor] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def find(self, prompt: Sequence[int], tokens: int, group: str = "") -> list[Tensor]:
        """The kept chunks at the begin of `prompt`, none of them past its first `tokens`."""
        keys = [_key(prompt[:end], group) for end in range(CHUNK, tokens + 1, CHUNK)]
        found = 0
        while found < len(keys) and keys[found] in self._chunks:
            found += 1
        self.hits += found
        self.misses += len(keys) - found
        for key in reversed(keys[:found]):  # the first chunk is the last to go
            self._chunks.move_to_end(key)
        return [self._chunks[key] for key in keys[:found]]

    def keep(self, tokens: Sequence[int], chunk: Tensor, group: str = "") -> None:
        """Copies the last chunk of these tokens, which are a whole number of chunks."""
        key = _key(tokens, group)
        if chunk.nbytes > self._memory or key in self._chunks:
            return
        while self.bytes + chunk.nbytes > self._memory:
            self.bytes -= self._chunks.popitem(last=False)[1].nbytes
        self._chunks[key] = chunk.clone()
        self.bytes += chunk.nbytes


def _key(tokens: Sequence[int], group: str) -> bytes:
    return group.encode() + b"\0" + array("I", tokens).tobytes()
