"""How many requests may wait: all together, and of one caller where several have keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minivault.errors import QueueFull
from minivault.generations.generation import Generation

if TYPE_CHECKING:
    from minivault.generations.accepting import Accepting
    from minivault.generations.running import Running
    from minivault.generations.waiting import WaitingLine


@dataclass(frozen=True, slots=True)
class Admission:
    """`most` may wait besides those that have places; replays among themselves as many.

    With several `callers` one of them has half of the queue: its requests are not everybody's 503.
    """

    line: WaitingLine
    accepting: Accepting
    running: Running
    most: int
    callers: int = 1

    def check(self, caller: str, *, replay: bool = False) -> None:
        """Raises QueueFull if no further request may come in."""
        waiting = [each for each in self._waiting() if (each.replays is not None) == replay]
        free = self.running.free
        if len(waiting) >= self.most + free:
            many = "1 request is" if len(waiting) == 1 else f"{len(waiting)} requests are"
            raise QueueFull(f"{many} waiting already; come again in a moment")
        own = sum(each.caller == caller for each in waiting)
        if self.callers > 1 and not replay and own >= max(1, self.most // 2) + free:
            raise QueueFull(f"{own} of your requests are waiting already; come again in a moment")

    def _waiting(self) -> Iterable[Generation]:
        return [*self.line.heard, *self.accepting]
