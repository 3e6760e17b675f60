"""Replay: the same text comes out again, or it is said where and why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from minivault.vault.record import Record
from minivault.vault.replay import Origin, Replay, Verdict, first_difference, replay
from tests.vault.samples import ENGINE, MODEL

TEXT = ["Once", " upon", " a", " time"]


class Storyteller:
    """Tells the same story to everybody, a word per token."""

    def __init__(self, origin: Origin | None = None) -> None:
        self.origin = origin or Origin(MODEL, ENGINE)
        self.asked: list[int] = []
        self.told = 0

    async def tell(self, record: Record, max_tokens: int) -> AsyncGenerator[str, None]:
        self.asked.append(max_tokens)
        for word in TEXT[:max_tokens]:
            self.told += 1
            yield word


def _record(response: str | None = "".join(TEXT), **more: Any) -> Record:
    fields = {
        "prompt": "p",
        "response": response,
        "finish_reason": "length",
        "model": MODEL,
        "engine": ENGINE,
        "params": {"max_tokens": 4},
        "seed": 1,
        "usage": {"completion_tokens": 4},
    }
    return Record(17, "", fields | more)


def _replay(record: Record, storyteller: Storyteller | None = None) -> Replay:
    teller = storyteller or Storyteller()
    return asyncio.run(replay(record, teller.tell, teller.origin))


def test_the_same_text_is_the_same() -> None:
    assert str(_replay(_record())) == "record 17 is the same"


def test_one_altered_character_is_found() -> None:
    result = _replay(_record("Once upon b time"))
    assert (result.verdict, result.at) == (Verdict.DIFFERS, 10)
    assert str(result) == "record 17 differs from character 11 on"


@pytest.mark.parametrize("text", ["Once upon a tim", "Once upon a time."])
def test_a_text_that_is_shorter_or_longer_differs(text: str) -> None:
    assert _replay(_record(text)).at == 15 + (text[-1] == ".")


def test_what_differs_besides_is_said() -> None:
    origin = Origin({**MODEL, "sha256": "1" * 64}, {**ENGINE, "version": 2})
    result = _replay(_record("Twice"), Storyteller(origin))
    assert result.verdict is Verdict.DIFFERS
    assert "engine.version was 1, is 2" in result.changes
    assert len(result.changes) == 2


def test_another_version_that_gives_the_same_text_is_the_same() -> None:
    origin = Origin(MODEL, {**ENGINE, "version": 2})
    assert _replay(_record(), Storyteller(origin)).verdict is Verdict.SAME


def test_a_text_that_was_cut_short_is_made_as_long_as_it_was() -> None:
    record = _record("Once upon", finish_reason="cancelled", usage={"completion_tokens": 2})
    storyteller = Storyteller()
    assert _replay(record, storyteller).verdict is Verdict.SAME
    assert storyteller.asked == [2]
    altered = Record(17, "", {**record.fields, "response": "Once upo"})
    assert _replay(altered).verdict is Verdict.DIFFERS


def test_of_a_recovered_record_the_beginning_is_compared() -> None:
    unknown = {"completion_tokens": None}
    record = _record("Once up", finish_reason="interrupted", usage=unknown)
    storyteller = Storyteller()
    assert _replay(record, storyteller).verdict is Verdict.SAME
    assert storyteller.told == 2, "more was made than there is to compare"
    altered = Record(17, "", {**record.fields, "response": "Once ub"})
    assert _replay(altered).at == 6


def test_a_record_without_a_token_needs_no_model() -> None:
    record = _record("", finish_reason="cancelled", usage={"completion_tokens": 0})
    storyteller = Storyteller()
    assert _replay(record, storyteller).verdict is Verdict.SAME
    assert storyteller.asked == []


@pytest.mark.parametrize(
    "change, why",
    [
        ({"redacted": {"was": ""}, "prompt": None}, "its text was redacted"),
        ({"withheld": {}, "prompt": None, "response": None}, "its text was not stored"),
        ({"redacts": 3}, "it tells of a redaction"),
        ({"seed": None}, "it does not say how the text was made"),
    ],
)
def test_why_a_record_cannot_be_replayed_is_said(change: dict[str, Any], why: str) -> None:
    result = _replay(_record(**change))
    assert (result.verdict, result.why) == (Verdict.NOT_REPRODUCIBLE, why)


def test_an_engine_without_the_promise_is_not_blamed() -> None:
    here = Storyteller(replace(Storyteller().origin, reproducible=False))
    assert _replay(_record("Twice"), here).verdict is Verdict.NOT_REPRODUCIBLE
    assert _replay(_record(), here).verdict is Verdict.SAME
    then = _record("Twice", engine={**ENGINE, "reproducible": False})
    assert "did not promise" in str(_replay(then))


def test_the_first_difference_is_counted_in_characters() -> None:
    assert first_difference("a\U0001f600b", "a\U0001f600c") == 2
    assert first_difference("ab", "abc") == 2
