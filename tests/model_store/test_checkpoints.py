from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from minivault.model_store import ModelStore
from tests.model_store.checkpoints import DISTILGPT2, LAYOUTS, TINY, save_gpt2

PROMPT = "The little rabbit"

pytestmark = pytest.mark.slow  # they bring transformers


def load(folder: Path) -> tuple[Any, Any]:
    """Untyped on purpose: half of transformers' functions have no types."""
    transformers = importlib.import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def greedy(folder: Path) -> str:
    model, tokenizer = load(folder)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=0)
    return str(tokenizer.decode(output[0]))


@lru_cache(maxsize=2)
def expected(folder: Path, *, half: bool) -> str:
    layout = LAYOUTS["half" if half else "as saved today"]
    return greedy(save_gpt2(folder / str(half), layout=layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_whole_model_that_says_the_same(
    layout: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    save_gpt2(tmp_path / "mine", layout=LAYOUTS[layout])
    store = ModelStore(tmp_path)
    assert store.check("mine") == []
    text = greedy(store.get("mine").folder)
    assert text.startswith(PROMPT)
    assert text == expected(tmp_path_factory.getbasetemp(), half="half" in layout)


def test_the_tokenizer_is_filled_up_and_ends_with_the_end(tmp_path: Path) -> None:
    _, tokenizer = load(save_gpt2(tmp_path, shape=TINY))
    assert tokenizer.eos_token_id == TINY.vocabulary - 1
    assert len(tokenizer) == TINY.vocabulary
    assert tokenizer.decode(tokenizer(PROMPT)["input_ids"]) == PROMPT


def test_distilgpt2s_own_shape_has_82_million_parameters(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path / "models" / "distilgpt2", shape=DISTILGPT2)
    model, tokenizer = load(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) == 81_912_576
    assert (tokenizer.eos_token_id, len(tokenizer)) == (50256, 50257)
    choice = ModelStore(tmp_path / "models").choose(None)
    assert choice.model is not None
    assert choice.model.name == "distilgpt2"


def test_the_storyteller_loads_as_any_model_does() -> None:
    folder = ModelStore(Path("models")).get("storyteller").folder
    text = greedy(folder)
    assert text.startswith(PROMPT)
    assert len(text) > len(PROMPT) + 20
