"""A text that is long enough ends with a sentence, and only where one has really ended."""

from __future__ import annotations

import pytest

from minivault.sentence_end import SentenceEnd


def said(pieces: list[str], after: int = 0) -> str | None:
    """What is said until a sentence ends; None if none does."""
    end = SentenceEnd(after)
    text = ""
    for piece in pieces:
        text += end.push(piece, 1)
        if end.found:
            return text
    return None


@pytest.mark.parametrize(
    "pieces, text",
    [
        (["The end", ".", " The"], "The end."),
        (["The end.", "\n\nThe"], "The end."),
        (['"Go', '!"', " He ran"], '"Go!"'),
        (["\u201cGo!", "\u201d", " said he", ". Then"], "\u201cGo!\u201d said he."),
        (["It is 3", ".", "5 miles. ", "Far"], "It is 3.5 miles. "),
        (["Mrs", ".", " Fox and J.", " Hare ran.", "\n"], "Mrs. Fox and J. Hare ran."),
        (["So did I", ".", " Then"], "So did I."),
        (["Well... ", "no", "? No. Yes"], "Well... no?"),
        (["終わり", "。", "「はい", "。」", "次"], "終わり。"),
        (["wer\u2026 Das"], "wer\u2026"),
        (["e.g. this", ".", "\nNo"], "e.g. this."),
    ],
)
def test_a_text_ends_where_a_sentence_does(pieces: list[str], text: str) -> None:
    assert said(pieces) == text


@pytest.mark.parametrize("pieces", [["The end."], ["The end. "], ["it. is. all. small."], ["a.b"]])
def test_without_what_tells_it_no_sentence_has_ended(pieces: list[str]) -> None:
    assert said(pieces) is None


def test_what_ends_before_the_text_is_long_enough_ends_nothing() -> None:
    words = ["One.", " Two.", " Three.", " Four.", " Five."]
    assert [said(words, after) for after in range(6)] == [
        "One.",
        "One.",
        "One. Two.",
        "One. Two. Three.",
        "One. Two. Three. Four.",
        None,
    ]
