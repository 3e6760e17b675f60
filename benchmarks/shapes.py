"""Models with random weights in the shapes of well-known ones: as fast as the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

_GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
}
SHAPES: dict[str, dict[str, Any]] = {
    "distilgpt2": _GPT2 | {"n_layer": 6},
    "gpt2": _GPT2,
    "gpt2-medium": _GPT2 | {"n_layer": 24, "n_embd": 1024, "n_head": 16},
}


def save_shape(name: str, folder: Path) -> Path:
    """Writes config.json and model.safetensors, as transformers would name everything."""
    config = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(_weights(config), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    width = config["n_embd"]
    sizes = {"wte.weight": (config["vocab_size"], width)}
    sizes["wpe.weight"] = (config["n_positions"], width)
    products = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    weights = {}
    for layer in range(config["n_layer"]):
        for name, size in products.items():
            sizes[f"h.{layer}.{name}.weight"] = size
            weights[f"h.{layer}.{name}.bias"] = torch.zeros(size[1])
        for name in ("ln_1", "ln_2"):
            weights |= _norm(f"h.{layer}.{name}", width)
    weights |= _norm("ln_f", width)
    weights |= {name: torch.randn(size, generator=dice) * 0.02 for name, size in sizes.items()}
    return {f"transformer.{name}": each for name, each in weights.items()}


def _norm(name: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
