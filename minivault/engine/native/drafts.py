"""Guesses at what a text says next, from the text itself (prompt lookup, arXiv:2304.04487).

Where the last few tokens stood before, what followed them there is likely to follow again: edits,
summaries and quotations repeat themselves. A guess that is wrong costs a row of a step, and changes
no token.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 7
_FIRST = 2
_KEYS = (4, 3)  # so many last tokens are looked up, the longer first
_LEAST_SHARE = 0.2  # of guesses that have to be right, in the long run
_LATELY = 0.8  # the weight of what was known before
_REST = 32  # tokens for which nothing is guessed, where too much was wrong


class Drafter:
    """The guesses for one text. Their number grows while they are right, and shrinks."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._length = _FIRST
        self._share = 0.5
        self._resumes = 0

    def read(self, tokens: Sequence[int]) -> None:
        """More of the text. What a token follows is known once it is there."""
        for token in tokens:
            known = self._tokens
            for size in _KEYS:
                if len(known) >= size:
                    self._places[tuple(known[-size:])] = len(known)
            known.append(token)

    @property
    def length(self) -> int:
        """Of the text so far, in tokens."""
        return len(self._tokens)

    def guess(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty where nothing is known."""
        if len(self._tokens) < self._resumes:
            return []
        for size in _KEYS:
            place = self._places.get(tuple(self._tokens[-size:]))
            if place is not None:
                return self._tokens[place : place + min(self._length, most)]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many of the last guesses were right."""
        self._share = _LATELY * self._share + (1 - _LATELY) * right / guessed
        if right == guessed:
            self._length = min(2 * self._length, MOST)
        elif right == 0:
            self._length = max(self._length // 2, 1)
        if self._share < _LEAST_SHARE:
            self._share, self._length = 0.5, _FIRST
            self._resumes = len(self._tokens) + _REST
