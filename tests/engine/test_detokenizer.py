"""Detokenizing token by token gives what decoding everything at once gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.detokenizer import TokenBytes
from minivault.engine.sequence import TextStream
from tests.engine import vocabularies
from tests.engine.vocabularies import SmallTokenizer

BYTE_LEVEL = SmallTokenizer(vocabularies.byte_level())
SENTENCE_PIECE = SmallTokenizer(vocabularies.sentence_piece())
METASPACE = SmallTokenizer(vocabularies.metaspace())
WORD_PIECES = SmallTokenizer(vocabularies.word_pieces())
WRAPPED_BYTES = SmallTokenizer(vocabularies.wrapped_bytes())
TOKEN_BYTES = TokenBytes(vocabularies.byte_level().id_to_token, special={0})
ALL = [BYTE_LEVEL, SENTENCE_PIECE, WRAPPED_BYTES, METASPACE, WORD_PIECES]
NAMES = ["byte level", "sentencepiece", "wrapped bytes", "metaspace", "wordpiece"]

HARD_TEXT = "the cat 日本語。 é e\u0301 👩‍👩‍👧 🇩🇪 สวัสดี नमस्ते مرحبا\r\n\u2028\x00 \ufffd ok"


def ids(tokenizer: SmallTokenizer) -> st.SearchStrategy[list[int]]:
    """Any ids at all: special ones, halves of characters, and one that the vocabulary lacks."""
    return st.lists(st.integers(0, len(tokenizer.ids)), max_size=40)


def byte_token(byte: int) -> int:
    return next(each for each in BYTE_LEVEL.ids.values() if TOKEN_BYTES[each] == bytes([byte]))


def stream(text: TextStream, token_ids: list[int]) -> list[str]:
    return [*(text.push(each) for each in token_ids), text.flush()]


@given(ids(BYTE_LEVEL))
def test_random_bytes_are_decoded_as_all_at_once(token_ids: list[int]) -> None:
    assert "".join(stream(BYTE_LEVEL.text([]), token_ids)) == BYTE_LEVEL.decode(token_ids)


@given(st.binary(max_size=40))
def test_bytes_become_what_utf8_makes_of_them(data: bytes) -> None:
    token_ids = [byte_token(byte) for byte in data]
    said = "".join(stream(BYTE_LEVEL.text([]), token_ids))
    assert said == data.decode("utf-8", "replace")


@pytest.mark.parametrize("tokenizer", ALL[1:], ids=NAMES[1:])
@given(data=st.data())
def test_any_tokens_are_decoded_as_all_at_once(
    tokenizer: SmallTokenizer, data: st.DataObject
) -> None:
    token_ids = data.draw(ids(tokenizer))
    assert "".join(stream(tokenizer.text([]), token_ids)) == tokenizer.decode(token_ids)


@pytest.mark.parametrize("tokenizer", ALL, ids=NAMES)
@given(data=st.data())
def test_the_text_goes_on_where_the_prompt_ends(
    tokenizer: SmallTokenizer, data: st.DataObject
) -> None:
    prompt = tokenizer.encode(data.draw(st.sampled_from(["the cat", "cat", "the  cats", "語"])))
    token_ids = data.draw(ids(tokenizer))
    said = "".join(stream(tokenizer.text(prompt), token_ids))
    assert tokenizer.decode(prompt) + said == tokenizer.decode([*prompt, *token_ids])


@pytest.mark.parametrize("tokenizer", ALL[:3], ids=NAMES[:3])
def test_hard_text_cut_at_every_token_comes_back(tokenizer: SmallTokenizer) -> None:
    token_ids = tokenizer.encode(HARD_TEXT)
    for end in range(len(token_ids) + 1):
        said = "".join(stream(tokenizer.text([]), token_ids[:end]))
        assert said == tokenizer.decode(token_ids[:end])
    assert tokenizer.decode(token_ids) == HARD_TEXT


@pytest.mark.parametrize("tokenizer", ALL, ids=NAMES)
@given(
    data=st.data(), stop=st.lists(st.sampled_from(["cat", "語", "\ufffd", " ", "sc"]), max_size=3)
)
def test_what_is_held_is_what_flush_would_say(
    tokenizer: SmallTokenizer, data: st.DataObject, stop: list[str]
) -> None:
    token_ids = data.draw(ids(tokenizer))
    text = tokenizer.text([], stop)
    said = ""
    for place, token_id in enumerate(token_ids, start=1):
        said += text.push(token_id)
        if text.stopped:
            assert text.held == ""
            return
        again = tokenizer.text([], stop)
        assert said + text.held == "".join(stream(again, token_ids[:place]))


def test_a_character_is_said_with_its_last_byte() -> None:
    text = BYTE_LEVEL.text([])
    pieces = [text.push(byte_token(byte)) for byte in "日".encode()]
    assert pieces == ["", "", "日"]


def test_a_character_cut_at_the_end_is_flushed() -> None:
    text = BYTE_LEVEL.text([])
    assert text.push(byte_token(0xE6)) == ""
    assert text.held == "\ufffd"
    assert text.flush() == "\ufffd"


def test_a_special_token_does_not_end_a_run_of_bytes() -> None:
    run = [SENTENCE_PIECE.ids[token] for token in ("<0x41>", "</s>", "<0xFF>")]
    assert (
        "".join(stream(SENTENCE_PIECE.text([]), run)) == SENTENCE_PIECE.decode(run) == "\ufffd" * 2
    )


def test_a_wrong_byte_does_not_touch_the_prompts_characters() -> None:
    prompt = SENTENCE_PIECE.encode("the Ж")
    said = stream(SENTENCE_PIECE.text(prompt), [SENTENCE_PIECE.ids["<0xFF>"]])
    assert "".join(said) == "\ufffd"


def test_the_leading_space_of_a_continuation_is_kept() -> None:
    prompt = SENTENCE_PIECE.encode("the")
    assert SENTENCE_PIECE.text(prompt).push(SENTENCE_PIECE.ids["▁cat"]) == " cat"


def test_a_stop_string_ends_the_text_in_the_middle_of_a_token() -> None:
    text = BYTE_LEVEL.text([], ["at"])
    said = [text.push(each) for each in BYTE_LEVEL.encode("the cat")]
    assert ("".join(said), text.stopped) == ("the c", True)


def test_a_stop_string_that_the_flushed_tail_completes_is_not_said() -> None:
    text = BYTE_LEVEL.text([], ["a\ufffd"])
    said = [text.push(byte_token(each)) for each in b"ba\xe6"]
    assert "".join(said) + text.flush() == "b"
