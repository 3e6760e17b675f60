"""Guesses at what a text says next."""

from __future__ import annotations

import random

from minivault.engine.native.drafts import Drafter

ONCE = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
FREE = (1.0,) * 5
"""A step of 1 to 5 rows, where a row costs nothing: whatever can be guessed is."""


def read(*tokens: int) -> Drafter:
    drafter = Drafter()
    drafter.read(tokens)
    return drafter


def cost(*rows: float) -> tuple[float, ...]:
    """What steps of one row and more take, where further ones cost so much each."""
    return (1.0, *(1.0 + sum(rows[: n + 1]) for n in range(len(rows))))


def test_what_followed_the_last_tokens_is_guessed_after_them_again() -> None:
    assert read(*ONCE, 99, 11, 12, 13).guess(FREE) == [14, 15, 16, 17]
    assert read(*ONCE, 99, 11, 12, 13).guess(FREE[:3]) == [14, 15]
    assert read(*ONCE, 99, 13).guess(FREE) == [14, 15, 16, 17]
    assert read(*ONCE, 99, 13).guess(FREE[:1]) == []


def test_what_stood_there_last_is_guessed() -> None:
    assert read(1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3).guess(FREE[:2]) == [5]


def test_what_has_more_tokens_before_it_in_common_is_guessed() -> None:
    assert read(1, 2, 3, 4, 9, 2, 3, 5, 8, 3, 6, 1, 2, 3).guess(FREE[:2]) == [4]
    assert read(1, 2, 3, 4, 9, 2, 3, 5, 8, 3, 6, 7, 2, 3).guess(FREE[:2]) == [5]


def test_a_text_is_guessed_as_far_as_a_row_is_likely_to_bring_what_it_costs() -> None:
    """The more tokens are the same as before, the likelier is the next; a chain only gets less."""
    many, two, one = (read(*ONCE, 99, *ONCE[4 - n : 4]) for n in (4, 2, 1))
    assert [len(each.guess(cost(0.1, 0.1, 0.1, 0.1))) for each in (many, two, one)] == [4, 4, 1]
    assert [len(each.guess(cost(0.3, 0.3, 0.3, 0.3))) for each in (many, two, one)] == [2, 1, 0]
    assert [len(each.guess(cost(0.9, 0.9, 0.9, 0.9))) for each in (many, two, one)] == [0, 0, 0]


def test_a_row_that_costs_little_is_guessed_behind_one_that_costs_much() -> None:
    drafter = read(*ONCE, 99, *ONCE[:6])
    assert drafter.guess(cost(0.85)) == []
    assert drafter.guess(cost(0.85, 0.0, 0.0)) == [16, 17, 18]


def test_where_several_texts_share_a_step_a_guess_brings_each_less() -> None:
    drafter = read(*ONCE, 99, *ONCE[:6])
    assert drafter.guess((1.0, 1.3)) == [16]
    assert drafter.guess((1.0, 1.3), tokens=3) == []


def test_a_copy_goes_on_where_its_source_does() -> None:
    """Of two places that say the same before, the one that is nearer to what was copied last."""
    source = [1, 2, 3, 20, 21, 5, 6, 30, 31, 32]
    drafter = read(*source, 8, 21, 5, 6, 40, 41, 9, 1, 2, 3)
    assert drafter.guess(FREE) == [20, 21, 5, 6]
    drafter.read([20, 99, 5, 6])  # one token is another
    assert drafter.guess(FREE[:2]) == [30]
    drafter = read(*source, 8, 21, 5, 6, 40, 41, 9, 1, 2, 3)
    drafter.guess(FREE)
    drafter.read([99, 20, 21, 5, 6])  # one is new
    assert drafter.guess(FREE) == [30, 31, 32, 8]


def test_a_text_that_says_one_thing_over_and_over_is_guessed_beyond_its_end() -> None:
    assert read(1, 7, 7).guess(FREE) == [7, 7, 7, 7]
    assert read(1, 2, 1, 2, 1, 2).guess(FREE) == [1, 2, 1, 2]


def test_nothing_is_guessed_of_a_text_that_repeats_nothing() -> None:
    assert read(*ONCE).guess(FREE) == []
    assert read(1).guess(FREE) == []
    assert Drafter().guess(FREE) == []


def test_what_was_right_before_is_guessed_at_higher_costs_and_what_was_wrong_is_not() -> None:
    """Whether it was guessed or not: where nothing pays, a text still learns when it would."""
    dice = random.Random(1)
    dear, cheap = cost(0.9), cost(0.15)
    right = read(*range(40, 80))
    for _ in range(4):
        for token in range(40, 80):
            right.guess(FREE)
            right.read([token])
    assert right.guess(dear)
    assert read(1, 2, 3, 2).guess(cheap)
    wrong = read(*range(40, 80))
    for _ in range(400):
        wrong.guess(dear)
        wrong.read([dice.randrange(40, 80)])
    wrong.read([1, 41])
    assert wrong.guess(cheap) == []
