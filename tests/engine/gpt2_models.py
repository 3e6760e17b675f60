"""Small GPT-2 models with random weights, in the layouts that exist, and texts for them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from minivault.engine.native.runner import NativeRunner
from minivault.engine.sequence import SamplingParams, Sequence
from tests.tools import tool

STORYTELLER = Path(__file__).parents[2] / "models" / "storyteller"
SMALL: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 203,
    "n_positions": 256,
    "n_embd": 48,
    "n_layer": 2,
    "n_head": 3,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


class Ids:
    """A text stream for models without a tokenizer: says token ids."""

    stopped = False
    held = ""

    def push(self, token_id: int) -> str:
        return f" {token_id}"

    def flush(self) -> str:
        return ""


def load(folder: Path, **options: Any) -> NativeRunner:
    """A runner of one thread: small products only wait for a second one."""
    tool("cc")
    chosen: dict[str, Any] = {"dtype": "float32", "threads": 1} | options
    return NativeRunner(folder, **chosen)


def make_sequence(prompt: list[int], params: SamplingParams | None = None) -> Sequence:
    return Sequence(prompt, params or SamplingParams(max_tokens=8, temperature=0), Ids())


def prefilled(runner: NativeRunner, prompt: list[int]) -> Sequence:
    """A sequence of which the first token can be drawn."""
    sequence = make_sequence(prompt, SamplingParams(max_tokens=8, temperature=0, logprobs=True))
    while not runner.prefill(sequence):
        pass
    return sequence


def random_prompt(seed: int, length: int, vocabulary: int = 203) -> list[int]:
    return random.Random(seed).choices(range(vocabulary), k=length)


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Weights by GPT-2's names without `transformer.`, drawn wide so that texts vary."""
    dice = torch.Generator().manual_seed(seed)
    width = config["n_embd"]
    inner = config.get("n_inner") or 4 * width

    def draw(*size: int, spread: float = 0.4) -> Tensor:
        return torch.randn(size, generator=dice) * spread

    weights = {
        "wte.weight": draw(config["vocab_size"], width),
        "wpe.weight": draw(config["n_positions"], width),
    }
    for prefix in ("ln_f", *(f"h.{i}.{n}" for i in range(config["n_layer"]) for n in _NORMS)):
        weights[f"{prefix}.weight"] = 1 + draw(width, spread=0.1)
        weights[f"{prefix}.bias"] = draw(width, spread=0.1)
    sizes = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
    sizes |= {"mlp.c_fc": (width, inner), "mlp.c_proj": (inner, width)}
    for layer in range(config["n_layer"]):
        for name, (inputs, outputs) in sizes.items():
            spread = inputs**-0.5
            weights[f"h.{layer}.{name}.weight"] = draw(inputs, outputs, spread=spread)
            weights[f"h.{layer}.{name}.bias"] = draw(outputs, spread=0.1)
    if not config.get("tie_word_embeddings", True):
        weights["lm_head.weight"] = draw(config["vocab_size"], width)
    return weights


def save_gpt2(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A folder with config.json and model.safetensors; `changes` go into the configuration."""
    config = SMALL | changes
    save_files(folder, config, random_weights(config, seed))
    return folder


def save_files(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    save_file({name: each.contiguous() for name, each in weights.items()}, folder / _WEIGHTS)


_NORMS = ("ln_1", "ln_2")
_WEIGHTS = "model.safetensors"
