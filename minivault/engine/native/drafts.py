"""Guesses at what a text says next, from the text itself (prompt lookup, arXiv:2304.04487).

Where the last few tokens stood before, what followed them there is likely to follow again: edits,
summaries and quotations repeat themselves. A guess that is wrong costs a row of a step, and changes
no token.
"""

from __future__ import annotations

import sys
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST = 5  # beyond, a row costs more than the tokens that it brings
_LEAST_SHARE = 0.3  # of guesses that have to be right: they cost rows until it is known
_LATELY = 0.9  # the weight of what was known before
_REST = 64  # tokens for which nothing is guessed, where too much was wrong


class Drafter:
    """The guesses for one text."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        # Two tokens are often followed by something else: that is worth one row, which costs little
        # where a step waits for the weights. One token is not worth even that.
        self._lookups = (_Lookup(size=3, most=MOST), _Lookup(size=2, most=1))
        self._used = self._lookups[0]
        self._source = sys.maxsize  # where what is copied goes on; beyond all: what stood last

    def read(self, tokens: Sequence[int]) -> None:
        """More of the text. What a token follows is known once it is there."""
        for token in tokens:
            for lookup in self._lookups:
                before = tuple(self._tokens[-lookup.size :])
                lookup.places.setdefault(before, []).append(len(self._tokens))
            self._tokens.append(token)
        self._source += len(tokens)

    @property
    def length(self) -> int:
        """Of the text so far, in tokens."""
        return len(self._tokens)

    def guess(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty where nothing is known.

        Of several places it is the one nearest to where the text would be, had it gone on copying:
        an edit leaves its source for a word or two, and comes back to it.
        """
        for lookup in self._lookups:
            places = lookup.places.get(tuple(self._tokens[-lookup.size :]))
            if places is not None and len(self._tokens) >= lookup.resumes:
                self._used = lookup
                place = _nearest(places, self._source)
                self._source = place
                return self._tokens[place : place + min(lookup.length, most)]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many of the last guesses were right."""
        self._used.learn(guessed, right, len(self._tokens))


def _nearest(places: Sequence[int], wanted: int) -> int:
    """Of places in their order, the one that is nearest to where it is wanted."""
    after = bisect(places, wanted)
    return min(places[max(0, after - 1) : after + 1], key=lambda place: abs(place - wanted))


@dataclass(slots=True)
class _Lookup:
    """What followed `size` tokens before: up to `most`, and more while it is right."""

    size: int
    most: int
    places: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    length: int = 4
    share: float = 0.5
    resumes: int = 0

    def __post_init__(self) -> None:
        self.length = min(self.length, self.most)

    def learn(self, guessed: int, right: int, at: int) -> None:
        self.share = _LATELY * self.share + (1 - _LATELY) * right / guessed
        longer = 2 * self.length if right == guessed else right + 1
        self.length = min(longer, self.most)
        if self.share < _LEAST_SHARE:
            self.share, self.resumes = 0.5, at + _REST
