"""Where an error happened, without what it says: its message may quote a prompt."""

from __future__ import annotations

import traceback


def trace(error: BaseException) -> str:
    """The lines that the error and those that led to it went through, and their types."""
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = "".join(traceback.format_tb(link.__traceback__))
        parts.append(f"{frames}{type(link).__module__}.{type(link).__qualname__}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nwhile handling:\n".join(parts)
