"""What is compiled of a format, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llguidance import LLParserLimits

from minivault.engine.grammar import KNOWN, Constraint, Grammars
from minivault.errors import BackendFailed, InvalidRequest
from tests.engine.vocabularies import byte_level

PAIR: dict[str, Any] = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
FORMAT = {"type": "json_schema", "schema": PAIR}


@pytest.fixture
def grammars() -> Grammars:
    return Grammars(byte_level().to_str(), [0])


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grammars that were compiled."""
    found: list[str] = []

    compile = Grammars._matcher

    def counted(self: Grammars, written: str) -> Any:
        found.append(written)
        return compile(self, written)

    monkeypatch.setattr(Grammars, "_matcher", counted)
    return found


def masked(constraint: Constraint | None) -> list[float]:
    assert constraint is not None
    row = np.zeros(300, dtype=np.float32)
    constraint.apply(row)
    return list(row)


def test_a_format_is_compiled_once_for_its_check_and_its_first_text(
    grammars: Grammars, compiled: list[str]
) -> None:
    for _ in range(3):  # as often as choices are asked for
        grammars.check(FORMAT)
    first = grammars.constraint(FORMAT)
    assert len(compiled) == 1
    second = grammars.constraint(FORMAT)
    assert len(compiled) == 2
    begin = masked(second)
    assert first is not None
    first.accept(begin.index(0.0))
    first.prepare()
    assert masked(second) == begin != masked(first)


def test_checks_are_forgotten_and_no_error_is_remembered(
    grammars: Grammars, compiled: list[str]
) -> None:
    for number in range(KNOWN + 1):
        grammars.check({"type": "json_schema", "schema": {"const": number}})
    grammars.check({"type": "json_schema", "schema": {"const": 0}})
    assert len(compiled) == KNOWN + 2
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="uniqueItems"):
            grammars.check({"type": "json_schema", "schema": {"uniqueItems": True}})


def write(constraint: Constraint) -> None:
    """A text of nonsense."""
    dice = np.random.default_rng(0)
    for _ in range(200):
        row = dice.normal(size=300).astype(np.float32)
        constraint.apply(row)
        constraint.accept(int(row.argmax()))
        constraint.prepare()


@pytest.mark.parametrize(
    "schema, sentence",
    [
        ({"type": "string", "pattern": "^((([a-z]{0,9} ?){0,9},? ?){0,9};? ?){0,9}$"}, "patterns"),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(30)}}, "left out"),
    ],
    ids=["pattern", "properties"],
)
def test_a_text_that_cannot_be_held_any_further_says_what_to_ask_for(
    grammars: Grammars, schema: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library gives up on is a state of its own."""
    limits = LLParserLimits(max_items_in_row=60, verbose_errors=False)
    monkeypatch.setattr("minivault.engine.grammar._LIMITS", limits)
    constraint = grammars.constraint({"type": "json_schema", "schema": schema})
    assert constraint is not None
    with pytest.raises(BackendFailed, match=sentence):
        write(constraint)
    with pytest.raises(BackendFailed, match=sentence):
        constraint.prepare()


def test_a_schema_that_no_text_can_begin_with_is_refused_at_once(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = LLParserLimits(step_max_items=5, verbose_errors=False)
    monkeypatch.setattr("minivault.engine.grammar._LIMITS", limits)
    schema = {"anyOf": [{"type": each} for each in ("string", "number", "array")]}
    with pytest.raises(InvalidRequest, match=r"Invalid schema for response_format: .*anyOf"):
        grammars.check({"type": "json_schema", "schema": schema})


def test_what_a_format_costs_is_known_of_its_further_texts(grammars: Grammars) -> None:
    grammars.check(FORMAT)
    first, second = grammars.constraint(FORMAT), grammars.constraint(FORMAT)
    assert first is not None
    assert second is not None
    first._cost.learn(5.0)
    assert second.cost == 5.0
    second.prepare()
    assert 4 < first.cost < 5
    other = grammars.constraint({"type": "json_object"})
    assert other is not None
    assert other.cost < 1
