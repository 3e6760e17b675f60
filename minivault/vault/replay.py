"""Replay: makes the text of a record again and compares, character by character."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from minivault.schemas import UNFINISHED
from minivault.vault.record import Record

_CUT_SHORT = ("cancelled", "disconnected", "interrupted", "error")

#: Gives the text of a record from its beginning, stop strings applied, up to so many tokens.
Tell = Callable[[Record, int], AsyncGenerator[str, None]]


class Verdict(StrEnum):
    """What came of a replay."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_REPRODUCIBLE = "not reproducible"


@dataclass(frozen=True, slots=True)
class Origin:
    """What would make the text now, in the words of a record."""

    model: Mapping[str, Any]
    engine: Mapping[str, Any]
    reproducible: bool = True


@dataclass(frozen=True, slots=True)
class Replay:
    """A verdict. `at` is the first character that differs, counted from 0; people count from 1.

    `changes` says what else differs; `text` is what was made now.
    """

    seq: int
    verdict: Verdict
    at: int | None = None
    why: str | None = None
    changes: list[str] = field(default_factory=list)
    text: str = ""

    def __str__(self) -> str:
        changes = f" ({'; '.join(self.changes)})" if self.changes else ""
        if self.verdict is Verdict.DIFFERS:
            return f"record {self.seq} differs from character {(self.at or 0) + 1} on{changes}"
        if self.verdict is Verdict.NOT_REPRODUCIBLE:
            return f"record {self.seq} is not reproducible because {self.why}{changes}"
        return f"record {self.seq} is the same"


def obstacle(record: Record) -> str | None:
    """Why a record cannot be replayed whatever model is loaded; None if it can."""
    if record.is_redaction:
        return "it tells of a redaction"
    if record.is_redacted:
        return "its text was redacted"
    if record.is_withheld:
        return "its text was not stored"
    if not record.is_whole or not isinstance(record.seed, int) or not record.params:
        return "it does not say how the text was made"
    return None


async def replay(record: Record, tell: Tell, origin: Origin) -> Replay:
    """Makes the text of `record` again, as many tokens as were made, and compares.

    `origin` describes what `tell` makes it with.
    """
    why = obstacle(record)
    if why:
        return Replay(record.seq, Verdict.NOT_REPRODUCIBLE, why=why)
    expected = record.response or ""
    # Of what may still go on, the record has no more than the beginning.
    length = len(expected) if record.finish_reason in UNFINISHED else None
    text = await _told(tell, record, length)
    if text == expected:
        return Replay(record.seq, Verdict.SAME, text=text)
    changed = changes(record, origin)
    at = first_difference(text, expected)
    why = None
    if splices := record.engine.get("splices"):
        why = f"another server went on with it at token {splices[0]['at']}"
    elif not origin.reproducible:
        why = "this engine does not promise the same bytes"
    elif record.engine.get("reproducible") is False:
        why = "the engine that made it did not promise the same bytes"
    verdict = Verdict.NOT_REPRODUCIBLE if why else Verdict.DIFFERS
    return Replay(record.seq, verdict, at, why, changed, text)


def first_difference(one: str, other: str) -> int:
    """The number of the first character in which two texts differ, counted from 0."""
    pairs = zip(one, other, strict=False)
    return next(
        (number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


def changes(record: Record, origin: Origin) -> list[str]:
    """What is other than it was: model, engine, library versions."""
    then = {"model": record.model, "engine": record.engine}
    now = {"model": origin.model, "engine": origin.engine}
    return [
        f"{group}.{name} was {then[group].get(name)}, is {now[group].get(name)}"
        for group in then
        for name in dict.fromkeys([*then[group], *now[group]])
        if then[group].get(name) != now[group].get(name)
    ]


def _tokens(record: Record) -> int:
    """How many tokens to make: as many as were made, all where a killed process could not say."""
    limit = int(record.params.get("max_tokens", 0))
    made = record.usage.get("completion_tokens")
    if record.finish_reason in _CUT_SHORT and isinstance(made, int):
        return min(made, limit)
    return limit


async def _told(tell: Tell, record: Record, length: int | None) -> str:
    """The text again, or the first `length` characters of it."""
    tokens, said = _tokens(record), ""
    if tokens == 0 or length == 0:
        return said
    async with aclosing(tell(record, tokens)) as pieces:
        async for piece in pieces:
            said += piece
            if length is not None and len(said) >= length:
                break
    return said[:length]
