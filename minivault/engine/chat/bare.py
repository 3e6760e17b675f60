"""Reads answers that are a call as a whole: JSON, and no mark that says so (Llama 3)."""

from __future__ import annotations

import re
from collections.abc import Collection

from minivault.backends.base import Part
from minivault.engine.chat.reader import HEAD, CallText

_NAME = r'(?:[^"\\]|\\.)*'
_STEPS = [r"\s*", r"\{", r"\s*", *'"name"', r"\s*", ":", r"\s*", '"', _NAME, '"', r"\s*", ","]
_STEPS += [r"\s*", '"', "[a-z]*", '"', r"\s*", ":", r"\s*"]


def _begun() -> re.Pattern[str]:
    """What may still become a call, up to its arguments."""
    pattern = ""
    for step in reversed(_STEPS):
        pattern = f"{step}(?:{pattern})?"
    return re.compile(pattern)


_BEGUN = _begun()


class BareCallReader:
    """Reads one answer as it is made: words, or the call of one of these functions.

    Nothing is told while it may still be either. What it is held to sees to it that nothing follows
    a call. Any one thread.
    """

    def __init__(self, functions: Collection[str]) -> None:
        self._functions = functions
        self._held = ""
        self._call: CallText | None = None
        self._is_text = False

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        if self._call:
            return list(self._call.push(text, 0))
        self._held += text
        if not self._is_text and self._is_call():
            self._call = CallText()
            return list(self._call.push(self._held, 0))
        if not self._is_text and len(self._held) < HEAD and _BEGUN.fullmatch(self._held):
            return []
        self._is_text = True
        return self.end()

    def end(self) -> list[Part]:
        """What is left once the text has ended."""
        held, self._held = self._held, ""
        return [Part("content", held)] if held and not self._call else []

    def _is_call(self) -> bool:
        head = CallText.NAMED.match(self._held, 0, HEAD)
        return head is not None and head[1][1:-1] in self._functions  # spelled as they are
