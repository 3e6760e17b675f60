"""The seam between the GPT-2 runner and whatever does the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from minivault.engine.likeliest import Row
from minivault.engine.sequence import Sequence as EngineSequence


class SlotCache(Protocol):
    """Keys and values of all sequences; each has a slot with room for a whole context."""

    def take(self) -> int:
        """The lowest free slot. IndexError if none is."""
        ...

    def give_back(self, slot: int) -> None:
        """Frees a slot and its memory."""
        ...

    def part(self, slot: int, begin: int, end: int) -> Tensor:
        """A view of a sequence's positions, which are whole chunks of a prefill."""
        ...


class Gpt2Model(Protocol):
    """One model on one device. For one thread at a time, in inference mode.

    `mode` and `reproducible`: as in `runners.base`. `description`: what its bits depend on.
    `mixes`: a step may run up to 64 more rows, of any sequence's tokens, after those it is for.
    """

    mixes: bool

    kv_bytes_per_token: int
    mode: str
    reproducible: bool
    description: Mapping[str, Any]

    @property
    def cache(self) -> SlotCache: ...

    def prefill(self, slot: int, begin: int, tokens: Sequence[int]) -> Tensor:
        """Keeps keys and values of up to 64 tokens of one sequence, from position `begin`.

        Returns what the layers make of them, (rows, width); rows past the tokens are no matter.
        """
        ...

    def decode(
        self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """float32 logits (rows, vocabulary) of any rows, which the next call may overwrite."""
        ...

    def begin(self, slot: int, sequence: EngineSequence) -> None:
        """Tells whose slot it is, before the first of its tokens is run."""
        ...

    def draw(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[EngineSequence],
    ) -> tuple[list[int], Row]:
        """`decode`, and a token drawn from each of the sequences' rows; see `Runner.draw`."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """float32 (rows, vocabulary) of (rows, width), which is what the layers made of rows."""
        ...
