"""The native runner computes what transformers computes, from every layout of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from minivault.engine.native.runner import NativeRunner
from minivault.engine.runner import Unsupported
from minivault.errors import ModelUnusable
from tests.engine.gpt2_models import (
    SMALL,
    STORYTELLER,
    load,
    prefilled,
    random_prompt,
    random_weights,
    save_files,
    save_gpt2,
)

LAYOUTS = ("plain", "prefixed", "buffers", "head", "half", "all")
SHAPES: list[dict[str, Any]] = [
    {},
    {"n_inner": 100, "activation_function": "relu"},
    {"n_head": 6, "activation_function": "gelu", "tie_word_embeddings": False},
    {"n_embd": 130, "n_head": 2},
    {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3, "n_positions": 300},
    {"scale_attn_weights": False, "n_embd": 40, "n_head": 5, "layer_norm_epsilon": 1e-3},
]


def transformers_model(folder: Path) -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def logits_after(runner: NativeRunner, prompt: list[int]) -> Tensor:
    sequence = prefilled(runner, prompt)
    logits = torch.from_numpy(runner.decode([sequence])[0].copy())
    runner.release(sequence)
    return logits


def greedy(runner: NativeRunner, prompt: list[int], count: int) -> list[int]:
    sequence = prefilled(runner, prompt)
    for _ in range(count):
        sequence.generated.append(int(runner.decode([sequence])[0].argmax()))
    runner.release(sequence)
    return sequence.generated


def closeness(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("changes", SHAPES, ids=lambda changes: ",".join(changes) or "small")
def test_logits_are_those_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = save_gpt2(tmp_path, **changes)
    runner = load(folder, dtype="float32")
    model = transformers_model(folder)
    for length in (1, 2, 64, 65, 130, 200):
        prompt = random_prompt(length, length)
        with torch.no_grad():
            expected = model(torch.tensor([prompt])).logits[0, -1]
        assert closeness(logits_after(runner, prompt), expected) < 1e-4


@pytest.mark.parametrize("seed", [1, 2])
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, seed: int) -> None:
    folder = save_gpt2(tmp_path, seed=seed)
    prompt = random_prompt(seed, 20)
    row = torch.tensor([prompt])
    said = transformers_model(folder).generate(
        row, attention_mask=torch.ones_like(row), max_new_tokens=200, do_sample=False
    )
    runner = load(folder, dtype="float32")
    assert greedy(runner, prompt, 200) == said[0, 20:].tolist()


@pytest.mark.slow
def test_greedy_text_of_the_storyteller_is_that_of_transformers() -> None:
    text = (STORYTELLER / "valid.txt").read_text(encoding="utf-8")[:1000]
    prompt = Tokenizer.from_file(str(STORYTELLER / "tokenizer.json")).encode(text).ids[:60]
    row = torch.tensor([prompt])
    said = transformers_model(STORYTELLER).generate(
        row, attention_mask=torch.ones_like(row), max_new_tokens=200, do_sample=False
    )
    expected = said[0, 60:].tolist()
    assert len(expected) == 200
    runner = load(STORYTELLER, dtype="float32")
    assert greedy(runner, prompt, 200) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_files_gives_the_same_logits(tmp_path: Path, layout: str) -> None:
    weights = {name: each.half().float() for name, each in random_weights(SMALL).items()}
    save_files(tmp_path / "plain", SMALL, weights)
    save_files(tmp_path / layout, SMALL, laid_out(weights, layout))
    prompt = random_prompt(3, 70)
    expected = logits_after(load(tmp_path / "plain", dtype="float32"), prompt)
    found = logits_after(load(tmp_path / layout, dtype="float32"), prompt)
    assert torch.equal(found, expected)


def laid_out(weights: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """The same weights as files in the wild hold them."""
    found = dict(weights)
    if layout in ("buffers", "all"):
        for layer in range(SMALL["n_layer"]):
            found[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8)
            found[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    if layout in ("prefixed", "all"):
        found = {f"transformer.{name}": each for name, each in found.items()}
    if layout in ("head", "all"):
        found["lm_head.weight"] = weights["wte.weight"].clone()
    if layout in ("half", "all"):
        found = {name: each.half() for name, each in found.items()}
    return found


def test_tensors_that_are_unknown_missing_or_of_another_shape_are_named(tmp_path: Path) -> None:
    weights = random_weights(SMALL)
    save_files(tmp_path / "more", SMALL, weights | {"h.0.adapter.weight": torch.ones(3)})
    with pytest.raises(ModelUnusable, match=r"unknown: h\.0\.adapter\.weight"):
        load(tmp_path / "more")
    save_files(tmp_path / "other", SMALL, weights | {"wpe.weight": torch.ones(3, 48)})
    with pytest.raises(ModelUnusable, match=r"another shape .*: wpe\.weight"):
        load(tmp_path / "other")
    del weights["h.1.ln_2.bias"]
    save_files(tmp_path / "less", SMALL, weights)
    with pytest.raises(ModelUnusable, match=r"missing: h\.1\.ln_2\.bias"):
        load(tmp_path / "less")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt_neox"},
        {"activation_function": "silu"},
        {"add_cross_attention": True},
        {"n_head": 5},
        {"quantization_config": {"bits": 4}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_it_does_not_know_is_left_to_another_runner(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    save_files(tmp_path, SMALL | changes, random_weights(SMALL))
    with pytest.raises(Unsupported):
        load(tmp_path)


def test_a_cut_file_is_unusable(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelUnusable, match=r"model\.safetensors cannot be read"):
        load(folder)


@pytest.mark.parametrize("dtype,bound", [("bfloat16", 0.06), ("int8", 0.08)])
def test_narrow_weights_come_close(tmp_path: Path, dtype: str, bound: float) -> None:
    folder = save_gpt2(tmp_path)
    prompt = random_prompt(7, 100)
    expected = logits_after(load(folder, dtype="float32"), prompt)
    found = logits_after(load(folder, dtype=dtype), prompt)
    assert 0 < closeness(found, expected) < bound


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_narrow_weights_keep_apart_logits_that_share_a_large_offset(
    tmp_path: Path, dtype: str
) -> None:
    """As GPT-2's do; around -100 a bfloat16 knows only halves."""
    weights = random_weights(SMALL)
    weights["ln_f.bias"] = torch.ones(48)
    weights["wte.weight"] -= 2
    save_files(tmp_path, SMALL, weights)
    prompt = random_prompt(9, 30)
    exact = logits_after(load(tmp_path, dtype="float32"), prompt)
    assert float(exact.mean()) < -80
    narrow = logits_after(load(tmp_path, dtype=dtype), prompt)
    assert float((narrow.log_softmax(-1) - exact.log_softmax(-1)).std()) < 0.1
    assert len(set(narrow.tolist())) > 180
