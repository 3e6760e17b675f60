"""Guesses at what a text says next, from the text itself (prompt lookup, arXiv:2304.04487).

Where the last few tokens stood before, what followed them there is likely to follow again: edits,
summaries and quotations repeat themselves. A guess that is wrong costs a row of a step, and changes
no token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MOST = 5  # beyond, a row costs more than the tokens that it brings
_LEAST_SHARE = 0.2  # of guesses that have to be right, in the long run
_LATELY = 0.8  # the weight of what was known before
_REST = 32  # tokens for which nothing is guessed, where too much was wrong


class Drafter:
    """The guesses for one text."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        # Two tokens are often followed by something else than before: that is worth one row.
        self._lookups = (_Lookup(size=3, most=MOST), _Lookup(size=2, most=1))
        self._used = self._lookups[0]

    def read(self, tokens: Sequence[int]) -> None:
        """More of the text. What a token follows is known once it is there."""
        for token in tokens:
            for lookup in self._lookups:
                lookup.places[tuple(self._tokens[-lookup.size :])] = len(self._tokens)
            self._tokens.append(token)

    @property
    def length(self) -> int:
        """Of the text so far, in tokens."""
        return len(self._tokens)

    def guess(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty where nothing is known."""
        for lookup in self._lookups:
            place = lookup.places.get(tuple(self._tokens[-lookup.size :]))
            if place is not None and len(self._tokens) >= lookup.resumes:
                self._used = lookup
                return self._tokens[place : place + min(lookup.length, most)]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many of the last guesses were right."""
        self._used.learn(guessed, right, len(self._tokens))


@dataclass(slots=True)
class _Lookup:
    """What followed `size` tokens the last time: up to `most`, and more while it is right."""

    size: int
    most: int
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
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
