"""The limits that a backend leaves to us, and what becomes of what it yields."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.generations.run import run
from minivault.schemas import EffectiveParameters, FinishReason


class Says:
    """Yields what it is given."""

    info = ModelInfo(name="says", context_length=100)

    def __init__(self, *items: str | Piece | Finish) -> None:
        self.items = items
        self.closed = False

    async def generate(self, request: Request) -> AsyncGenerator[str | Piece | Finish, None]:
        try:
            for item in self.items:
                yield item
        finally:
            self.closed = True


def collect(
    backend: Says, *, max_tokens: int = 100, stop: tuple[str, ...] = (), sentence_after: int = 0
) -> tuple[str, FinishReason, str]:
    """The text, the reason, and the tail of the last piece."""
    params = EffectiveParameters(
        max_tokens=max_tokens,
        max_tokens_requested=max_tokens,
        temperature=1,
        top_k=0,
        top_p=1,
        repetition_penalty=1,
        stop=stop,
        sentence_after=sentence_after,
    )

    async def everything() -> list[Piece | Finish]:
        return [item async for item in run(backend, Request("x", params, 1))]

    items = asyncio.run(everything())
    pieces = [item for item in items if isinstance(item, Piece)]
    last = items[-1]
    assert isinstance(last, Finish)
    return "".join(piece.text for piece in pieces), last.reason, pieces[-1].tail if pieces else ""


def test_ending_without_a_finish_is_stop() -> None:
    assert collect(Says("a", "b")) == ("ab", FinishReason.STOP, "")


def test_a_finish_ends_it_with_its_reason() -> None:
    assert collect(Says("a", Finish(FinishReason.LENGTH), "b"))[:2] == ("a", FinishReason.LENGTH)


def test_a_str_counts_as_one_token_and_max_tokens_ends_it() -> None:
    backend = Says("a", "b", "c", "d")
    assert collect(backend, max_tokens=3)[:2] == ("abc", FinishReason.LENGTH)
    assert backend.closed


def test_a_stop_string_over_several_pieces_never_leaks() -> None:
    backend = Says("The ", "e", "n", "d!", " more")
    assert collect(backend, stop=("end",)) == ("The ", FinishReason.STOP, "")
    assert backend.closed


def test_half_a_stop_string_at_the_end_is_the_tail() -> None:
    assert collect(Says("The ", "en"), stop=("end",)) == ("The ", FinishReason.STOP, "en")


def test_lone_surrogates_become_replacement_characters() -> None:
    assert collect(Says("a\ud800b"))[0] == "a\ufffdb"


@given(
    st.lists(st.text(alphabet="abé", max_size=3), max_size=12),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=3), max_size=3),
)
def test_the_text_ends_before_the_first_complete_stop_string(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    ends = [(whole.find(s) + len(s), whole.find(s)) for s in stops if s in whole]
    expected = whole[: min(ends)[1]] if ends else whole
    text, _, tail = collect(Says(*pieces), stop=tuple(stops))
    assert text + tail == expected


@pytest.mark.parametrize("applies_limits", [False, True])
def test_a_text_that_is_long_enough_ends_with_a_sentence(applies_limits: bool) -> None:
    backend = Says("One. ", "Two", " three", ".", " Four", Finish(FinishReason.LENGTH))
    backend.info = replace(backend.info, applies_limits=applies_limits)
    ended = collect(backend, sentence_after=2)
    assert ended == ("One. Two three.", FinishReason.STOP, "")
    assert backend.closed
    assert collect(backend, sentence_after=5)[:2] == (
        "One. Two three. Four",
        FinishReason.LENGTH,
    )
