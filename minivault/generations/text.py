"""What a generation has said, and whether it comes out the same when it is made again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import Any

from minivault.backends.base import Logprobs, Piece, TokenLogprob
from minivault.errors import MiniVaultError


class Irreproducible(MiniVaultError):
    """A text was made again, and came out differently."""

    title = "Not reproducible"


@dataclass(slots=True)
class Text:
    """The text of one generation over all of its runs; every run starts from the first token.

    A later run must first repeat `said`, which an earlier one made before it gave its place away,
    and `expected`, which our log holds of an earlier life; only what goes beyond `said` is new.
    New text that nobody could be told can be taken back.
    """

    expected: str = ""
    said: str = ""
    tail: str = ""  # held back by the backend, said if this is the end
    tokens: int = 0
    logprobs: list[dict[str, Any]] = field(default_factory=list)  # of what was said
    scores: list[dict[str, Any]] = field(default_factory=list)  # of the prompt's tokens
    _scored: int = 0  # in this run
    _made: int = 0  # tokens of this run; fewer than `tokens` while it repeats
    _at: int = 0  # characters of this run; fewer than there are in `said` while it repeats
    _unsaid: list[dict[str, Any]] = field(default_factory=list)  # of tokens without text so far

    @property
    def repeating(self) -> bool:
        """While a run has not come up to what was said before."""
        return self._at < len(self.said)

    @property
    def proven(self) -> bool:
        """Whether all that our log holds has been made again; nothing may be shown before."""
        return len(self.said) >= len(self.expected)

    def start_over(self) -> None:
        """What is taken next starts from the first token."""
        self._made = self._at = self._scored = 0
        self._unsaid.clear()

    def take(self, piece: Piece) -> dict[str, Any] | None:
        """Counts a piece; returns what its event says, or None if it has no new text.

        Raises Irreproducible if it departs from what was said already.
        """
        self._made += piece.tokens
        if self._made >= self.tokens:
            self.tokens, self.tail = self._made, piece.tail
        for score in piece.scores:
            self._scored += 1
            if self._scored > len(self.scores):
                self.scores.append(_logprobs_data(score))
        if piece.logprobs:
            self._unsaid += map(_logprobs_data, piece.logprobs)
        if not piece.text:
            return None
        new = piece.text
        if self._at < len(self.said):
            # Pieces need not end where they did before: one may reach beyond what was said.
            again, new = new[: len(self.said) - self._at], new[len(self.said) - self._at :]
            if not self.said.startswith(again, self._at):
                raise Irreproducible("the text came out differently when it was made again")
            self._at += len(again)
            if not new:
                self._unsaid.clear()  # they were said with it
                return None
        # A piece may reach beyond what the log holds: its beginning must be the rest of that.
        rest = len(self.expected) - self._at
        if rest > 0 and not self.expected.startswith(new[:rest], self._at):
            raise Irreproducible("the text came out differently from what the log holds")
        return self._say(new)

    def count(self, tokens: int | None) -> None:
        """Puts the number of tokens right, if whoever made them has another count."""
        if tokens is not None:
            self.tokens = tokens

    def take_tail(self) -> dict[str, Any] | None:
        """Says what was held back, as this is the end; None if there is nothing to say."""
        tail, self.tail = self.tail, ""
        return self._say(tail) if tail and not self.repeating else None

    def take_back(self, said: dict[str, Any]) -> None:
        """Forgets what was said last, as `take` or `take_tail` returned it."""
        self.said, self.tail = self.said.removesuffix(said["text"]), ""
        del self.logprobs[len(self.logprobs) - len(said.get("logprobs", ())) :]

    def _say(self, text: str) -> dict[str, Any]:
        self.said += text
        self._at = len(self.said)
        said: dict[str, Any] = {"text": text}
        if self._unsaid:
            said["logprobs"], self._unsaid = self._unsaid, []
            self.logprobs += said["logprobs"]
        return said


def _logprobs_data(logprobs: Logprobs) -> dict[str, Any]:
    return {**_token_data(logprobs.token), "top": [_token_data(each) for each in logprobs.top]}


def _token_data(token: TokenLogprob) -> dict[str, Any]:
    logprob = None if isnan(token.logprob) else round(token.logprob, 6)
    data: dict[str, Any] = {"token": token.text, "logprob": logprob}
    return data if token.bytes is None else data | {"bytes": list(token.bytes)}
