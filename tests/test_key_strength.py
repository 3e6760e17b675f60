"""Keys that anybody tries first are no keys."""

from __future__ import annotations

import random

import pytest

from minivault.key_strength import is_weak


@pytest.mark.parametrize(
    "key",
    [
        "",
        "correct-hor",
        "changeme1234",
        "changemechangeme",
        "my-api-key-123456",
        "your-api-key-here",
        "minivault-secret-key",
        "p4$$w0rd-p4$$w0rd",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "1234567890123",
        "qwertyuiop-2026",
        "zyxwvutsrqponm",
        "------------------",
    ],
)
def test_a_usual_word_or_row_is_no_key(key: str) -> None:
    assert is_weak(key)


@pytest.mark.parametrize("key", ["correct-horse", "ключ-к-серверу-2026", "the-readers-own-key"])
def test_words_of_ones_own_are_a_key(key: str) -> None:
    assert not is_weak(key)


def test_what_is_drawn_by_chance_is_a_key() -> None:
    chance = random.Random(7)
    assert not any(is_weak(chance.randbytes(16).hex()) for _ in range(500))
