"""Guesses at what a text says next."""

from __future__ import annotations

from minivault.engine.native.drafts import MOST, Drafter

ONCE = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]


def read(*tokens: int) -> Drafter:
    drafter = Drafter()
    drafter.read(tokens)
    return drafter


def test_what_followed_three_tokens_is_guessed_after_them_again() -> None:
    assert read(*ONCE, 99, 11, 12, 13).guess(9) == [14, 15, 16, 17]
    assert read(*ONCE, 99, 11, 12, 13).guess(2) == [14, 15]


def test_after_two_tokens_one_is_guessed() -> None:
    assert read(*ONCE, 99, 12, 13).guess(9) == [14]


def test_what_stood_there_last_is_guessed() -> None:
    assert read(1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3).guess(1) == [5]


def test_after_one_token_nothing_is_guessed() -> None:
    assert read(*ONCE, 99, 13).guess(9) == []


def test_a_copy_goes_on_where_its_source_does() -> None:
    """Of two places that say the same before, the one that is nearer to what was copied last."""
    source = [1, 2, 3, 20, 21, 5, 6, 30, 31, 32]
    drafter = read(*source, 8, 21, 5, 6, 40, 41, 9, 1, 2, 3)
    assert drafter.guess(9) == [20, 21, 5, 6]
    drafter.read([20, 99, 5, 6])  # one token is another
    assert drafter.guess(9) == [30]
    drafter = read(*source, 8, 21, 5, 6, 40, 41, 9, 1, 2, 3)
    drafter.guess(9)
    drafter.read([99, 20, 21, 5, 6])  # one is new
    assert drafter.guess(9) == [30, 31, 32, 8]


def test_nothing_is_guessed_of_a_text_that_repeats_nothing() -> None:
    assert read(*ONCE).guess(9) == []
    assert read(1).guess(9) == []
    assert Drafter().guess(9) == []


def test_a_guess_grows_while_it_is_right_and_shrinks_to_what_was() -> None:
    drafter = read(*ONCE, 99, 11, 12, 13)
    drafter.learn(4, 4)
    assert len(drafter.guess(9)) == MOST
    drafter.learn(MOST, 1)
    assert drafter.guess(9) == [14, 15]
    drafter.learn(2, 0)
    assert drafter.guess(9) == [14]


def test_where_too_much_is_wrong_it_rests() -> None:
    drafter = read(*ONCE, 99, 11, 12, 13)
    for _ in range(60):
        if guess := drafter.guess(9):
            drafter.learn(len(guess), 0)
    assert drafter.guess(9) == []
    drafter.read([*range(100, 161), 11, 12, 13])
    assert drafter.guess(9) == [100]
