"""Models to measure are models like any other, and never end a text before its length."""

from __future__ import annotations

from pathlib import Path

from minivault.bench.models import SHAPES, count_weights, make_endless_copy, make_random_model
from minivault.bench.workload import Workload
from minivault.engine.tokenizer import load_tokenizer
from minivault.model_store.model import problems_of
from minivault.resources import resource


def test_a_random_model_is_whole_and_has_no_end(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "model", SHAPES["tiny"])
    assert problems_of(folder, read_all=True) == []
    assert load_tokenizer(folder).end_ids == frozenset()


def test_every_token_of_a_random_model_has_a_text(tmp_path: Path) -> None:
    folder = make_random_model(tmp_path / "model", SHAPES["tiny"])
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode([SHAPES["tiny"].vocabulary - 1]).strip().isalpha()


def test_weights_are_counted_by_the_headers(tmp_path: Path) -> None:
    shape = SHAPES["tiny"]
    folder = make_random_model(tmp_path / "model", shape)
    width = shape.width
    layer = 12 * width**2 + 13 * width
    expected = (shape.vocabulary + shape.context + 2) * width + shape.layers * layer
    assert count_weights(folder) == expected


def test_an_endless_copy_is_the_same_model_without_an_end(tmp_path: Path) -> None:
    storyteller = resource("models/storyteller")
    copy = make_endless_copy(storyteller, tmp_path / "copy")
    assert problems_of(copy) == []
    assert load_tokenizer(storyteller).end_ids
    assert load_tokenizer(copy).end_ids == frozenset()
    weights = "model.safetensors"
    assert (copy / weights).resolve() == (storyteller / weights).resolve()


def test_a_prompt_has_its_length_and_survives_as_text() -> None:
    tokenizer = load_tokenizer(resource("models/storyteller"))
    for length in (1, 32, 200):
        prompt = Workload(prompt_tokens=length).prompt(tokenizer.encode)
        assert len(prompt) == length
        assert tokenizer.encode(tokenizer.decode(prompt)) == prompt
