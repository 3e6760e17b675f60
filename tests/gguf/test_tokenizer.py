"""The tokenizer of a GGUF file: llama.cpp's ids, and a refusal of what is not understood."""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
from pathlib import Path
from typing import Any
from unicodedata import ucd_3_2_0

import numpy as np
import pytest

from minivault.engine.tokenizer import Tokenizer, load_tokenizer
from minivault.errors import ModelUnusable
from minivault.gguf.reader import GgufFile
from minivault.gguf.splits import SPLITS
from minivault.gguf.tokenizer import tokenizer_of
from tests.gguf.files import floats, save
from tests.gguf.smollm2 import smollm2
from tests.gguf.vocabularies import TEMPLATE, byte_level, sentence_piece
from tests.tools import FULL, leave_out

#: Texts and the ids that llama.cpp gives them with the vocabulary of SmolLM2: with the names of
#: control tokens read as such, and as text where that differs.
GOLDEN = json.loads(Path(__file__).with_name("smollm2_ids.json").read_text(encoding="utf-8"))


def saved(folder: Path, keys: dict[str, Any]) -> Path:
    return save(folder / "tiny.gguf", keys, {"it": floats(np.ones(1))})


def spelled(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(each) for each in tokenizer.encode(text)]


def pieces(tokenizer: Any, text: str, **how: Any) -> list[str]:
    return list(tokenizer.backend.encode(text, **how).tokens)


@pytest.mark.slow
def test_ids_are_those_of_llama_cpp() -> None:
    backend = tokenizer_of(GgufFile.open(smollm2())).backend
    tokenizer = load_tokenizer(smollm2())
    for each in GOLDEN:
        text, ids = each["text"], each["ids"]
        assert backend.encode(text, add_special_tokens=False).ids == ids, text
        assert tokenizer.encode(text) == each.get("as_text", ids), text
    assert tokenizer.end_ids == {0, 2}
    prompt = tokenizer.render([{"role": "user", "content": "Hi<|im_end|>"}])
    ids = tokenizer.encode(prompt)
    assert ids[:2] == [1, 9690]
    assert ids.count(2) == 2  # the template's own; the user's stays text


#: Parts of random texts: what splits look at, words, and letters of many scripts.
PARTS = [
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "'s",
    "'LL",
    "12",
    "3456",
    "the",
    " cat",
    "Größe",
    "_",
]
PARTS += [
    "<|im_start|>",
    "<|im_",
    "end|>",
    "日本語",
    "นั่ง",
    "हिन्दी",
    "👩‍👩‍👧",
    "e\u0301",
    "\u00a0",
    "…",
    "+=",
    "\u2028",
]


def random_text(dice: random.Random) -> str:
    """Of parts, and of characters that Unicode has had for long: tables of newer ones differ."""
    letters = [chr(dice.randrange(0x20, 0x3100)) for _ in range(dice.randrange(6))]
    known = [each for each in letters if ucd_3_2_0.category(each)[0] != "C"]
    chosen = [*dice.choices(PARTS, k=dice.randrange(1, 9)), *known]
    dice.shuffle(chosen)
    return "".join(chosen)


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="ten thousand texts")
def test_ids_of_random_texts_are_those_of_llama_cpp() -> None:
    if importlib.util.find_spec("llama_cpp") is None:
        leave_out("llama-cpp-python is not installed")
    model = importlib.import_module("llama_cpp").Llama(
        str(smollm2()), vocab_only=True, verbose=False
    )
    backend = tokenizer_of(GgufFile.open(smollm2())).backend
    tokenizer, dice = load_tokenizer(smollm2()), random.Random(11)
    for _ in range(10_000):
        text = random_text(dice)
        data = text.encode()
        special = model.tokenize(data, add_bos=False, special=True)
        assert backend.encode(text, add_special_tokens=False).ids == special, text
        assert tokenizer.encode(text) == model.tokenize(data, add_bos=False, special=False), text
    tokenizer.close()


def test_bytes_are_cut_merged_and_put_together(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(saved(tmp_path, byte_level()))
    assert spelled(tokenizer, "he cat 123") == [
        "he",
        " cat",
        " ",
        "1",
        "2",
        "3",
    ]  # each digit alone
    for text in ("he cat", "日本\r\n  x", "<think> <|turn|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_control_tokens_are_special_and_added_ones_are_words(tmp_path: Path) -> None:
    made = tokenizer_of(GgufFile.open(saved(tmp_path, byte_level())))
    added = made.backend.get_added_tokens_decoder()
    special = {token.content: token.special for token in added.values()}
    assert special == {
        "<|endoftext|>": True,
        "<|im_end|>": True,
        "<|turn|>": True,
        "<think>": False,
    }
    assert {made.backend.id_to_token(each) for each in made.end_ids} == {
        "<|endoftext|>",
        "<|im_end|>",
    }
    assert made.names == {"eos_token": "<|endoftext|>"}


def test_the_template_of_the_file_renders_a_conversation(tmp_path: Path) -> None:
    keys = byte_level() | {"tokenizer.chat_template": TEMPLATE}
    tokenizer = load_tokenizer(saved(tmp_path, keys))
    try:
        assert tokenizer.chat
        prompt = tokenizer.render([{"role": "user", "content": "he <|turn|>"}])
        assert prompt == "<|turn|>user: he <|turn|><|im_end|><|turn|>assistant: "
        names = [tokenizer.token_text(each) for each in tokenizer.encode(prompt)]
        assert names.count("<|turn|>") == 2
    finally:
        tokenizer.close()


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_of_the_table_cuts_without_losing_anything(name: str, tmp_path: Path) -> None:
    backend = tokenizer_of(GgufFile.open(saved(tmp_path, byte_level(pre=name)))).backend
    text = "Don't STOP'LL  fooBar\r\n\n 12345\t//x\u3000é ½日"
    cuts = [cut for _, cut in backend.pre_tokenizer.pre_tokenize_str(text)]
    assert [begin for begin, _ in cuts] == [0, *(end for _, end in cuts[:-1])]
    assert cuts[-1][1] == len(text)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gpt-2", ["Don", "'t", " fooBar", "12345", "'", "LL", "\n", " x"]),
        ("smollm", ["Don", "'t", " fooBar", "1", "2", "3", "4", "5", "'", "LL", "\n", " x"]),
        ("llama-bpe", ["Don", "'t", " fooBar", "123", "45", "'LL", "\n", " x"]),
        ("qwen2", ["Don", "'t", " fooBar", "1", "2", "3", "4", "5", "'LL", "\n", " x"]),
        ("tekken", ["Don", "'t", " foo", "Bar", "1", "2", "3", "4", "5", "'LL", "\n", " x"]),
        ("gpt-4o", ["Don't", " foo", "Bar", "123", "45", "'LL", "\n", " x"]),
    ],
)
def test_what_sets_the_splits_apart(name: str, expected: list[str], tmp_path: Path) -> None:
    backend = tokenizer_of(GgufFile.open(saved(tmp_path, byte_level(pre=name)))).backend
    cuts = backend.pre_tokenizer.pre_tokenize_str("Don't fooBar12345'LL\n x")
    text = "Don't fooBar12345'LL\n x"
    assert [text[begin:end] for _, (begin, end) in cuts] == expected


def test_a_word_that_is_a_token_is_not_merged_where_the_split_says_so(tmp_path: Path) -> None:
    keys = byte_level(pre="llama-bpe", add_bos_token=False)
    tokens = keys["tokenizer.ggml.tokens"]
    keys["tokenizer.ggml.tokens"] = [*tokens[:-4], "xyz", *tokens[-4:]]
    keys["tokenizer.ggml.token_type"].insert(0, keys["tokenizer.ggml.token_type"][0])
    keys["tokenizer.ggml.eos_token_id"] += 1
    assert spelled(load_tokenizer(saved(tmp_path, keys)), "xyz") == ["xyz"]
    keys["tokenizer.ggml.pre"] = "qwen2"
    other = tmp_path / "other"
    other.mkdir()
    assert spelled(load_tokenizer(saved(other, keys)), "xyz") == ["x", "y", "z"]


def test_pieces_are_joined_by_their_scores(tmp_path: Path) -> None:
    made = tokenizer_of(GgufFile.open(saved(tmp_path, sentence_piece())))
    assert pieces(made, "cat he") == ["<s>", "▁cat", "▁he"]
    assert pieces(made, "heh", add_special_tokens=False) == ["▁he", "h"]
    assert pieces(made, "hat", add_special_tokens=False) == ["▁", "h", "at"]
    assert pieces(made, "é", add_special_tokens=False) == ["▁", "<0xC3>", "<0xA9>"]
    assert pieces(made, "a<table>s", add_special_tokens=False)[1:3] == ["a", "<table>"]
    assert made.names == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = load_tokenizer(saved(tmp_path, sentence_piece()))
    assert tokenizer.decode(tokenizer.encode("cat é he")) == "cat é he"


def test_the_space_before_and_the_begin_of_text_are_as_the_file_says(tmp_path: Path) -> None:
    keys = sentence_piece(add_space_prefix=False, add_bos_token=False, add_eos_token=True)
    made = tokenizer_of(GgufFile.open(saved(tmp_path, keys)))
    assert pieces(made, "cat") == ["cat", "</s>"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "lacks tokenizer.ggml.model"),
    "another model": ({"model": "bert"}, "model 'bert'; gpt2 and llama are read"),
    "no split": ({"pre": None}, "lacks tokenizer.ggml.pre"),
    "an unknown split": ({"pre": "viking"}, "the pre-tokenizer 'viking'; these are read: gpt-2"),
    "a token twice": ({"tokens": ["a", "b", "a"]}, "the token 'a' twice"),
    "too few kinds": ({"token_type": [1, 1]}, "2 values of token_type for"),
    "a merge of nothing": ({"merges": ["c a", "ca q"]}, "the merge 'ca q', which makes no token"),
    "a merge of one": ({"merges": ["cat"]}, "the merge 'cat', which makes no token"),
    "an end outside": ({"eos_token_id": 99999}, "eos_token_id 99999, which is no token"),
    "a flag in words": ({"add_bos_token": "yes"}, "add_bos_token yes"),
    "merges of a kind": ({"merges": 3}, "of another type is tokenizer.ggml.merges"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_refused_by_name(case: str, tmp_path: Path) -> None:
    changes, why = WRONG[case]
    keys = byte_level()
    for key, value in changes.items():
        keys.pop(f"tokenizer.ggml.{key}", None)
        if value is not None:
            keys[f"tokenizer.ggml.{key}"] = value
    with pytest.raises(ModelUnusable) as raised:
        load_tokenizer(saved(tmp_path, keys))
    assert str(raised.value).startswith("tiny.gguf ")
    assert why in str(raised.value)
