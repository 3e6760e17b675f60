"""Where the messages of a conversation stand in the prompt that a template made of it.

The template is rendered twice, once with marks in the place of the messages, and the two are laid
side by side. So nothing has to be put into the prompt itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

Span = tuple[int, int]
"""Beginning and end, in characters."""


def new_marks(count: int) -> list[str]:
    """Words that no text holds and no template changes."""
    word = f"m{secrets.token_hex(10)}"
    return [f"{word}n{number}n" for number in range(count)]


def spans(
    prompt: str, frame: str, marks: Sequence[str], contents: Sequence[str]
) -> list[list[Span]] | None:
    """For each message where its content stands in `prompt`; None if that cannot be told.

    `frame` is the same prompt with `marks` in the place of the contents. A template may trim a
    content, repeat it or leave it out; what it changes otherwise is not found.
    """
    found: list[list[Span]] = [[] for _ in contents]
    number_of = {mark: number for number, mark in enumerate(marks)}
    begin, *parts = re.split(f"({'|'.join(marks)})", frame) if marks else [frame]
    pieces = [(number_of[mark], text) for mark, text in zip(parts[::2], parts[1::2], strict=True)]
    if not prompt.startswith(begin):
        return None
    at = len(begin)
    for position, (number, text) in enumerate(pieces):
        last = position == len(pieces) - 1
        # What templates make of a content, longest first.
        content = contents[number]
        kinds = {content}
        for letters in (None, "\n"):
            kinds |= {content.strip(letters), content.lstrip(letters), content.rstrip(letters)}
        fitting = (
            each
            for each in sorted(kinds, key=len, reverse=True)
            if prompt.startswith(each + text, at)
            and (not last or at + len(each) + len(text) == len(prompt))
        )
        written = next(fitting, None)
        if written is None:
            return None
        if written:
            found[number].append((at, at + len(written)))
        at += len(written) + len(text)
    return found if at == len(prompt) else None
