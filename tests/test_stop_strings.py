"""Stop strings: nothing of one is ever said, and nothing else is ever lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.stop_strings import StopStrings

FEW_LETTERS = st.text(alphabet="ab\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=6), max_size=8)


def whole_text_reference(text: str, stops: list[str]) -> str:
    """Reads the text one character at a time and asks at each whether it ends in a stop string."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


def said(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    filter_ = StopStrings(stops)
    spoken = [filter_.push(piece) for piece in pieces]
    return [*spoken, filter_.flush()], filter_.matched


def cut(text: str, places: list[int]) -> list[str]:
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in zip(borders, borders[1:], strict=False)]


@given(FEW_LETTERS, STOPS, st.lists(st.integers(0, 100), max_size=10))
def test_any_cut_of_the_text_says_what_the_whole_text_says(
    text: str, stops: list[str], places: list[int]
) -> None:
    expected = whole_text_reference(text, stops)
    spoken, matched = said(cut(text, places), stops)
    assert "".join(spoken) == expected
    assert matched == any(stop in text for stop in stops)


@given(FEW_LETTERS, STOPS)
def test_only_what_can_still_become_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    filter_ = StopStrings(stops)
    spoken = ""
    for position, letter in enumerate(text, start=1):
        spoken += filter_.push(letter)
        if filter_.matched:
            break
        held = text[len(spoken) : position]
        beginnings = [text[start:position] for start in range(position)]
        undecided = [end for end in beginnings if any(stop.startswith(end) for stop in stops)]
        assert held == max(undecided, key=len, default="")


@pytest.mark.parametrize(
    "pieces, stops, expected",
    [
        (["one\n", "\ntwo"], ["\n\n"], "one"),
        (["<", "|e", "nd", "|>x"], ["<|end|>"], ""),
        (["<|e", "nd"], ["<|end|>"], "<|end"),
        (["aab"], ["ab", "aab"], ""),
        (["abc", "d"], ["abcd", "bc"], "a"),
        (["abcd"], ["abcd", "bc"], "a"),
        (["日本", "語。", "終"], ["。"], "日本語"),
        (["👩‍", "👩‍👧 x"], ["👩‍👩‍👧"], ""),
        (["aaaa", "aaab"], ["aaab"], "aaaa"),
        (["x", "", "y"], [], "xy"),
    ],
)
def test_known_cases(pieces: list[str], stops: list[str], expected: str) -> None:
    assert "".join(said(pieces, stops)[0]) == expected


def test_nothing_is_said_after_a_stop_string() -> None:
    filter_ = StopStrings(["."])
    assert filter_.push("One. Two") == "One"
    assert filter_.push(" three") == ""
    assert filter_.flush() == ""
    assert filter_.matched


def test_text_that_cannot_become_a_stop_string_is_said_at_once() -> None:
    filter_ = StopStrings(["STOP"])
    assert filter_.push("a long text S") == "a long text "
    assert filter_.push("o it goes on") == "So it goes on"


def test_without_stop_strings_everything_is_said_at_once() -> None:
    assert said(["a", "b"], []) == (["a", "b", ""], False)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])
