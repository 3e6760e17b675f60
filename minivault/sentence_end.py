"""Ends a stream of text with a sentence, once it is long enough."""

from __future__ import annotations

import re

_CLOSING = "\"'\u201d\u2019\u00bb)\\]"
# What follows tells whether a sentence ended: a new line, or a word that is not small.
_END = re.compile(rf"[.!?\u2026][{_CLOSING}]*(?=[^\S\n]*\n|\s+(?P<next>\S))")
_WIDE_END = re.compile(r"[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*(?=(?P<next>.))")
_ABBREVIATED = re.compile(r"\b(?:Mrs?|Ms|Dr|St|Prof|Messrs|Capt|Rev|vs|[A-HJ-Z])\.$")
_REMEMBERED = 80  # characters before a piece that tell what it ends


class SentenceEnd:
    """Where the first sentence ends that ends after so many tokens.

    It is seen by the character that follows, so nothing is held back: what that character's piece
    says behind the sentence is left out. White space that earlier pieces said stays. Depends on the
    pieces alone, never on time. One thread at a time.
    """

    def __init__(self, after: int) -> None:
        """`after`: as many tokens are said in any case."""
        self._left = after
        self._said = ""
        self.found = False

    def push(self, text: str, tokens: int) -> str:
        """Takes the next piece and returns what of it belongs to the text."""
        known, self._left = len(self._said), self._left - tokens
        whole = self._said + text
        end = None
        if self._left < 0:  # where the first sentence ends whose end one of the new letters tells
            ends = (_end(each, whole, known) for each in (_END, _WIDE_END))
            end = min((each for each in ends if each is not None), default=None)
        self._said = whole[-_REMEMBERED:]
        self.found = end is not None
        return text if end is None else whole[known : max(known, end)]


def _end(pattern: re.Pattern[str], text: str, known: int) -> int | None:
    for match in pattern.finditer(text):
        following = match["next"]
        told = text.find("\n", match.end()) if following is None else match.start("next")
        is_end = following is None or not following.islower()
        stop = match.start() + 1
        if told >= known and is_end and not _ABBREVIATED.search(text[max(0, stop - 9) : stop]):
            return match.end()
    return None
