"""What is compiled of a format, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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


def test_a_text_that_cannot_be_held_any_further_says_what_to_ask_for(grammars: Grammars) -> None:
    """What the library gives up on, where a pattern has too many states, is a state of its own."""
    constraint = grammars.constraint(FORMAT)
    assert constraint is not None
    with pytest.raises(BackendFailed, match="simpler patterns"):
        constraint.accept(masked(constraint).index(-np.inf))
    with pytest.raises(BackendFailed, match="simpler patterns"):
        masked(constraint)
