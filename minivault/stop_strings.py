"""Ends a stream of text before the first stop string, whatever the pieces it comes in."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Says as early as possible what can no longer be part of a stop string.

    The stop string that is complete first ends the text; of several that are complete at the same
    character, the longest. So the result depends on the whole text alone, not on how it is cut.
    Only the longest end of the text that begins a stop string is held back. One thread at a time.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        """Raises ValueError for an empty stop string: it would end every text at once."""
        self._stops = tuple(dict.fromkeys(stops))
        if "" in self._stops:
            raise ValueError("a stop string cannot be empty")
        self._held = ""
        self.matched = False

    @property
    def held(self) -> str:
        """What is held back now."""
        return self._held

    def push(self, text: str) -> str:
        """Takes the next piece and returns what may be said now; nothing once a stop matched."""
        if self.matched or not self._stops:
            return "" if self.matched else text
        text = self._held + text
        end = self._first_match(text)
        if end is None:
            end = len(text) - self._undecided(text)
            self._held = text[end:]
        else:
            self.matched, self._held = True, ""
        return text[:end]

    def flush(self) -> str:
        """What is still held back, at whatever end: no stop string can become of it any more."""
        held, self._held = self._held, ""
        return held

    def ending(self, tail: str) -> str:
        """What would be said after all that was pushed, if `tail` came and the text ended there."""
        if self.matched or not self._stops:
            return "" if self.matched else tail
        text = self._held + tail
        return text[: self._first_match(text)]

    def _first_match(self, text: str) -> int | None:
        """Where the text ends: the begin of the stop string that is complete first."""
        found = ((text.find(stop), len(stop)) for stop in self._stops)
        matches = [(start + length, start) for start, length in found if start >= 0]
        return min(matches)[1] if matches else None

    def _undecided(self, text: str) -> int:
        """The length of the longest end of the text that begins a stop string."""
        return max(_overlap(text, stop) for stop in self._stops)


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a proper prefix of `stop`."""
    start = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while start >= 0 and not stop.startswith(text[start:]):
        start = text.find(stop[0], start + 1)
    return len(text) - start if start >= 0 else 0
