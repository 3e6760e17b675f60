"""What the native runner keeps of one sequence."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.native.drafts import Drafter


@dataclass(slots=True)
class Slot:
    """Where a sequence's keys and values lie, and how many tokens they stand for.

    `rest` are the last of these, if they have yet to be computed, along with the first draw. `keys`
    stand for who may reuse them, then for all tokens up to the end of each whole chunk. `ahead` are
    tokens that were drawn already and have yet to be said, each with its logits.
    """

    index: int
    length: int = 0
    rest: tuple[int, ...] = ()
    keys: list[bytes] = field(default_factory=lambda: [b""])
    ahead: deque[tuple[int, Row]] = field(default_factory=deque)
    drafter: Drafter = field(default_factory=Drafter)

    def guess(self, sequence: seq.Sequence, costs: Sequence[float], tokens: int) -> list[int]:
        """What its text may say next; see `Drafter.guess`."""
        if len(costs) < 2 or (tokens + 1) / costs[1] <= tokens / costs[0]:
            return []  # not even a guess that is surely right would pay
        self.drafter.read(sequence.part(self.drafter.length, self.length + 1))
        return self.drafter.guess(costs, tokens)

    def look_ahead(self, drawn: Sequence[int], rows: Sequence[Row], guessed: Sequence[int]) -> int:
        """Takes the draws after the last token and after each guess; how many of these were right.

        The draw after one that was wrong is of another text.
        """
        right = 0
        while right < len(guessed) and drawn[right] == guessed[right]:
            right += 1
        self.ahead.extend(zip(drawn[: right + 1], rows, strict=False))
        return right
