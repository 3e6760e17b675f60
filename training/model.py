"""The model: a GPT-2 with random weights, made and saved by transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from training.recipe import Recipe


def new_model(recipe: Recipe, *, vocabulary: int, end: int | None) -> GPT2LMHeadModel:
    """Normal weights of 0.02, residual projections divided by sqrt(2 × layers), no dropout."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
    )
    torch.manual_seed(recipe.seed)
    return GPT2LMHeadModel(config)


def loss(model: Callable[..., Any], ids: torch.Tensor) -> torch.Tensor:
    """Mean nats of each token after the first, given those before it. `ids`: (rows, length)."""
    logits = model(ids).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def save_model(model: GPT2LMHeadModel, folder: Path) -> None:
    """Write configuration and fp32 weights, as safetensors."""
    model.generation_config.pad_token_id = model.config.eos_token_id
    model.save_pretrained(folder)
