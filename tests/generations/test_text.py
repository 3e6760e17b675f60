"""What was said, said again and taken back: without a loop, a vault or a backend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.backends.base import Logprobs, Piece, TokenLogprob
from minivault.generations.text import Irreproducible, Text


def say(text: Text, *words: str, tail: str = "") -> list[str]:
    """Takes pieces of one token each and returns what is new of them."""
    new = []
    for word in words:
        if said := text.take(Piece(word, tail=tail)):
            new.append(said["text"])
    return new


def test_what_is_taken_is_said_and_counted() -> None:
    text = Text()
    assert say(text, " a", "", " b") == [" a", " b"]
    assert (text.said, text.tokens) == (" a b", 3)


def test_a_run_that_starts_over_repeats_and_then_goes_on() -> None:
    text = Text()
    say(text, " a", " b")
    text.start_over()
    assert text.repeating
    assert say(text, " a") == []
    assert (text.said, text.tokens) == (" a b", 2), "nothing is counted twice"
    assert say(text, " b", " c") == [" c"]
    assert not text.repeating
    assert (text.said, text.tokens) == (" a b c", 3)


def test_one_that_starts_over_again_while_it_repeats_goes_on_all_the_same() -> None:
    text = Text()
    say(text, " a", " b")
    text.start_over()
    say(text, " a")
    text.start_over()
    assert say(text, " a", " b", " c") == [" c"]


@pytest.mark.parametrize("other", [" x", " x c"])
def test_what_comes_out_differently_is_refused(other: str) -> None:
    text = Text()
    say(text, " a", " b")
    text.start_over()
    say(text, " a")
    with pytest.raises(Irreproducible, match="made again"):
        text.take(Piece(other))
    assert text.said == " a b"


def test_a_piece_may_reach_beyond_what_was_said_before() -> None:
    text = Text()
    say(text, " a", " b")
    text.start_over()
    assert say(text, " a", " b c", " d") == [" c", " d"]
    assert text.said == " a b c d"


def test_what_the_log_holds_must_come_first() -> None:
    text = Text(expected=" a b")
    assert not text.proven
    assert say(text, " a") == [" a"]
    assert not text.proven
    say(text, " b and more")
    assert text.proven
    with pytest.raises(Irreproducible, match="log"):
        Text(expected=" a b").take(Piece(" a c"))


def test_what_the_log_holds_is_still_asked_for_after_a_place_was_given_away() -> None:
    text = Text(expected=" a b c")
    say(text, " a")
    text.start_over()
    say(text, " a", " b")
    with pytest.raises(Irreproducible, match="log"):
        text.take(Piece(" x"))


def test_the_tail_of_the_last_piece_is_said_once_and_only_at_the_end() -> None:
    text = Text()
    say(text, " a", tail=" half")
    assert text.take_tail() == {"text": " half"}
    assert text.said == " a half"
    assert text.take_tail() is None


def test_a_tail_is_not_said_while_the_text_is_repeated() -> None:
    text = Text()
    say(text, " a", " b", tail=" half")
    text.start_over()
    say(text, " a")
    assert text.take_tail() is None
    assert text.said == " a b"


def test_what_nobody_was_told_can_be_taken_back() -> None:
    text = Text()
    shown = text.take(_piece(" a", "a"))
    said = [text.take(_piece(" b", "b")), text.take(Piece(" c", tail=" half"))]
    for each in reversed(said):
        assert each
        text.take_back(each)
    assert shown
    assert (text.said, text.logprobs) == (" a", shown["logprobs"])
    assert text.take_tail() is None


def _piece(text: str, token: str) -> Piece:
    return Piece(text, logprobs=(Logprobs(TokenLogprob(token, -0.12345678)),))


def test_log_probabilities_of_tokens_without_text_go_with_the_next_piece() -> None:
    text = Text()
    assert text.take(_piece("", "a")) is None
    said = text.take(_piece("é", "b"))
    assert said
    assert [each["token"] for each in said["logprobs"]] == ["a", "b"]
    assert said["logprobs"][0] == {"token": "a", "logprob": -0.123457, "top": []}
    assert text.logprobs == said["logprobs"]


def test_log_probabilities_are_not_said_twice_when_a_text_is_made_again() -> None:
    text = Text()
    for _ in range(2):
        text.start_over()
        text.take(_piece("", "a"))
        text.take(_piece("é", "b"))
    new = text.take(_piece("c", "c"))
    assert new
    assert [each["token"] for each in new["logprobs"]] == ["c"]


def test_log_probabilities_of_a_run_that_said_nothing_are_forgotten_with_it() -> None:
    text = Text()
    text.take(_piece("", "a"))
    text.start_over()
    text.take(_piece("", "a"))
    said = text.take(_piece("é", "b"))
    assert said
    assert [each["token"] for each in said["logprobs"]] == ["a", "b"]


@given(st.lists(st.text("ab", max_size=2), max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_however_often_it_starts_over_the_whole_is_said_once(
    pieces: list[str], restarts: list[int]
) -> None:
    text, new = Text(), []
    for until in [*restarts, len(pieces)]:
        text.start_over()
        new += say(text, *pieces[:until])
    assert "".join(new) == text.said == "".join(pieces)
    assert text.tokens == len(pieces)
