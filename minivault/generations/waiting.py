"""The line of generations that wait for a place: those that somebody listens to come first."""

from __future__ import annotations

from minivault.generations.generation import Generation


class WaitingLine:
    """First come, first served; behind them those without a listener, and replays last of all."""

    def __init__(self) -> None:
        self._waiting: dict[Generation, int] = {}  # and when it came
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def heard(self) -> int:
        """How many of them somebody listens to."""
        return sum(generation.heard for generation in self._waiting)

    def add(self, generation: Generation) -> None:
        self._arrivals += 1
        self._waiting[generation] = self._arrivals

    def pop(self) -> Generation:
        """Takes out the one whose turn it is."""
        generation = min(self._waiting, key=self._turn)
        del self._waiting[generation]
        return generation

    def remove(self, generation: Generation) -> None:
        self._waiting.pop(generation, None)

    def unheard(self) -> list[Generation]:
        """Those without a listener, the oldest first."""
        return [generation for generation in self._waiting if not generation.heard]

    def tell_positions(self) -> None:
        """Tells everyone in the line how many come before, itself included."""
        for position, generation in enumerate(sorted(self._waiting, key=self._turn), start=1):
            for follower in generation.followers:
                follower.waits_at(position)

    def _turn(self, generation: Generation) -> tuple[bool, bool, int]:
        replay = generation.replays is not None
        return replay, not generation.heard, self._waiting[generation]
