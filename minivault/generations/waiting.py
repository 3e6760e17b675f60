"""The line of generations that wait for a place: those that somebody listens to come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from minivault.generations.generation import Generation


class WaitingLine:
    """Callers take turns, each first come, first served; behind them those without a listener, and
    replays last of all.
    """

    def __init__(self, places: Callable[[], Counter[str]] = Counter) -> None:
        """`places`: how many generations of each caller run."""
        self._waiting: dict[Generation, int] = {}  # and when it came
        self._arrivals = 0
        self._places = places

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, generation: Generation) -> None:
        self._arrivals += 1
        self._waiting[generation] = self._arrivals

    def remove(self, generation: Generation) -> None:
        self._waiting.pop(generation, None)

    def unheard(self) -> list[Generation]:
        """Those without a listener, the oldest first."""
        return [generation for generation in self._waiting if not generation.heard]

    def order(self) -> list[Generation]:
        """All of them, the one whose turn it is first.

        A caller's turn comes the later, the more places and earlier requests it has.
        """
        before = self._places()
        turns: dict[Generation, tuple[bool, bool, int, int]] = {}
        for generation, arrival in self._waiting.items():
            replay = generation.replays is not None
            turns[generation] = (
                replay,
                not generation.heard,
                before[generation.visitor.caller],
                arrival,
            )
            before[generation.visitor.caller] += 1
        return sorted(turns, key=turns.__getitem__)
