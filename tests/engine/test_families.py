"""Many families: greedy text is what transformers' generate says, on both sides of every border."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from minivault.engine.sequence import SamplingParams, Sequence
from minivault.engine.transformers import runner as transformers_runner
from minivault.engine.transformers.runner import TransformersRunner
from tests.engine.families import BORDER, FAMILIES, MORE
from tests.engine.gpt2_models import Ids

pytestmark = pytest.mark.slow

TRIED = FAMILIES | (MORE if os.environ.get("MINIVAULT_FULL") else {})
COUNT = 12
LENGTHS = [3, BORDER - COUNT // 2, BORDER - 1, BORDER, BORDER + 1, 2 * BORDER]
WITHOUT_A_CACHE = {"recurrent_gemma": "one cache for all texts", "openai-gpt": "keeps no cache"}


def saved(family: str, folder: Path) -> Any:
    """The model as transformers has it, and in a folder."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.AutoConfig.for_model(family.split()[0], **TRIED[family])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(folder)
    return model


def generated(model: Any, prompt: list[int]) -> list[int]:
    row = torch.tensor([prompt])
    ones = torch.ones_like(row)
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    said = model.generate(row, attention_mask=ones, max_new_tokens=COUNT, **options)
    tokens: list[int] = said[0, len(prompt) :].tolist()
    return tokens


@pytest.mark.parametrize("family", TRIED)
def test_greedy_text_is_what_generate_says_across_every_border(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All prompts take turns, so that a model that mixed its texts up would be found out."""
    monkeypatch.setattr(transformers_runner, "PART", BORDER // 2)
    monkeypatch.setattr(transformers_runner, "text_generation", loaded)
    prompts = [[3 + (place * 7 + length) % 200 for place in range(length)] for length in LENGTHS]
    saved(family, tmp_path)
    expected = [generated(loaded(tmp_path).model, prompt) for prompt in prompts]
    runner = TransformersRunner(tmp_path, dtype="float32", threads=1)
    said = [Sequence(prompt, SamplingParams(COUNT), Ids()) for prompt in prompts]
    for each in said:
        while not runner.prefill(each):
            pass
    for _ in range(COUNT):
        for each in said:
            each.generated.append(int(runner.decode([each])[0].argmax()))
    assert [each.generated for each in said] == expected
    assert runner.reproducible
    assert WITHOUT_A_CACHE.get(family, "kept") in runner.description["cache"]


class loaded:
    """A model of its own for everybody who asks, without a tokenizer."""

    def __init__(self, folder: Path, *_: object) -> None:
        transformers: Any = importlib.import_module("transformers")
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
