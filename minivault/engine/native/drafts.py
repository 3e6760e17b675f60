"""Guesses at what a text says next, from the text itself (prompt lookup, arXiv:2304.04487).

Where the last few tokens stood before, what followed them there is likely to follow again: edits,
summaries and quotations repeat themselves. A guess that is wrong costs a row of a step, and changes
no token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 6
_LEAST_SHARE = 0.2  # of guesses that have to be right, in the long run
_LATELY = 0.8  # the weight of what was known before
_REST = 32  # tokens for which nothing is guessed, where too much was wrong


@dataclass(slots=True)
class _Trust:
    """In guesses by keys of a kind: how many go at once, and what share of them was right.

    Where too many were wrong, there are none until the text is `resumes` tokens long.
    """

    first: int
    length: int
    share: float = 0.5
    resumes: int = 0

    def learn(self, guessed: int, right: int, said: int) -> None:
        self.share = _LATELY * self.share + (1 - _LATELY) * right / guessed
        if right == guessed:
            self.length = min(2 * self.length, MOST)
        elif right == 0:
            self.length = max(self.length // 2, 1)
        if self.share < _LEAST_SHARE:
            self.share, self.length, self.resumes = 0.5, self.first, said + _REST


class Drafter:
    """The guesses for one text. Their number grows while they are right, and shrinks.

    So many last tokens are looked up, the more the better; what two of them say is trusted apart.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        long, short = _Trust(3, 3), _Trust(1, 1)
        self._keys = {4: long, 3: long, 2: short}
        self._trust = long

    def read(self, tokens: Sequence[int]) -> None:
        """More of the text. What a token follows is known once it is there."""
        for token in tokens:
            known = self._tokens
            for size in self._keys:
                if len(known) >= size:
                    self._places[tuple(known[-size:])] = len(known)
            known.append(token)

    @property
    def length(self) -> int:
        """Of the text so far, in tokens."""
        return len(self._tokens)

    def guess(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty where nothing is known."""
        for size, trust in self._keys.items():
            place = self._places.get(tuple(self._tokens[-size:]))
            if place is not None and self.length >= trust.resumes:
                self._trust = trust
                return self._tokens[place : place + min(trust.length, most)]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many of the last guesses were right."""
        self._trust.learn(guessed, right, self.length)
