"""Tiny random models of transformers, written as GGUF the way llama.cpp's converter writes them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.gguf.files import Tensor, floats, save

COMMON: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 2**-17,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0}
SHORT, LONG = [1.0 + n / 8 for n in range(6)], [2.0 + n for n in range(6)]


def rope(base: float, kind: str = "default", **rest: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": base, **rest}}


#: Of each: the architecture in GGUF, the family in transformers, its config, its own keys in GGUF.
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", "llama", rope(10000.0), {}),
    "tied, biased": (
        "llama",
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, **rope(50000.0)},
        {"rope.freq_base": 50000.0},
    ),
    "llama 3": ("llama", "llama", {"rope_parameters": LLAMA3}, {"rope.freq_base": 500000.0}),
    "linear": (
        "llama",
        "llama",
        rope(10000.0, "linear", factor=2.0),
        {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0},
    ),
    "mistral": (
        "llama",
        "mistral",
        {"head_dim": 32, "sliding_window": None, **rope(1e6)},
        {"attention.key_length": 32, "attention.value_length": 32, "rope.freq_base": 1e6},
    ),
    "ministral 3": (
        "mistral3",
        "ministral3",
        {
            "head_dim": 32,
            **rope(1e6, "yarn", **YARN, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.125),
        },
        {
            "attention.key_length": 32,
            "attention.value_length": 32,
            "attention.temperature_scale": 0.125,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
            "rope.scaling.yarn_beta_fast": 32.0,
            "rope.scaling.yarn_beta_slow": 1.0,
            "rope.scaling.yarn_log_multiplier": 1.0,
        },
    ),
    "qwen2": ("qwen2", "qwen2", rope(1e6), {"rope.freq_base": 1e6}),
    "qwen3": (
        "qwen3",
        "qwen3",
        {"head_dim": 32, **rope(1e6, "yarn", **YARN)},
        {
            "attention.key_length": 32,
            "attention.value_length": 32,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
        },
    ),
    "smollm3": ("smollm3", "smollm3", rope(2e6), {"rope.freq_base": 2e6}),
    "granite": (
        "granite",
        "granite",
        {
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.25,
            "logits_scaling": 8.0,
            "attention_multiplier": 0.0625,
            **rope(10000.0),
        },
        {
            "embedding_scale": 12.0,
            "residual_scale": 0.25,
            "logit_scale": 8.0,
            "attention.scale": 0.0625,
        },
    ),
    "gemma3": (
        "gemma3",
        "gemma3_text",
        {
            "num_hidden_layers": 7,
            "head_dim": 32,
            "sliding_window": 8,
            "query_pre_attn_scalar": 32,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
        {
            "attention.key_length": 32,
            "attention.value_length": 32,
            "attention.sliding_window": 8,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
    ),
    "phi3": (
        "phi3",
        "phi3",
        {
            "original_max_position_embeddings": 32,
            "sliding_window": 12,
            **rope(
                10000.0,
                "longrope",
                short_factor=SHORT,
                long_factor=LONG,
                partial_rotary_factor=0.75,
                original_max_position_embeddings=32,
                factor=4.0,
                attention_factor=1.125,
            ),
        },
        {
            "rope.dimension_count": 12,
            "attention.sliding_window": 12,
            "rope.scaling.type": "longrope",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
            "rope.scaling.attn_factor": 1.125,
        },
    ),
    "olmo2": ("olmo2", "olmo2", rope(500000.0), {"rope.freq_base": 500000.0}),
    "gpt2": ("gpt2", "gpt2", {"n_inner": 96}, {"attention.layer_norm_epsilon": 1e-5}),
}


def make(name: str, **more: Any) -> Any:
    """A model of transformers."""
    transformers = importlib.import_module("transformers")
    _, family, own, _ = MODELS[name]
    config = transformers.AutoConfig.for_model(family, **{**COMMON, **own, **more})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in (each for each in model.parameters() if each.dim() == 1):
        torch.nn.init.normal_(parameter, 0.5, 0.2)  # norms and biases that are told apart
    return model


def metadata(name: str, config: Any) -> dict[str, Any]:
    """What the converter says of it."""
    architecture, _, _, own = MODELS[name]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": width,
        "vocab_size": config.vocab_size,
        **own,
    }
    if architecture == "gpt2":  # has nothing of these
        for key in ("head_count_kv", "layer_norm_rms_epsilon"):
            del keys[f"attention.{key}"]
        del keys["rope.dimension_count"]
    named = {f"{architecture}.{key}": value for key, value in keys.items()}
    return {"general.architecture": architecture, **named}


def tensors(name: str, model: Any, gguf: Any) -> dict[str, Tensor]:
    """Its weights in float32, named by the table of the reference."""
    architecture, config = MODELS[name][0], model.config
    kind = next(number for number, each in gguf.MODEL_ARCH_NAMES.items() if each == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    made: dict[str, Tensor] = {}
    for called, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if architecture in ("llama", "mistral3", "smollm3", "granite"):
            values = _permuted(called, values, config)
        if called.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):  # of GPT-2
            values = values.T
        if architecture == "gemma3" and "norm" in called:
            values = values + 1
        made[names.get_name(called, try_suffixes=(".weight", ".bias"))] = floats(values)
    if name == "llama 3":
        inverse = 1 / 500000.0 ** (np.arange(0, 16, 2) / 16)
        made["rope_freqs.weight"] = floats(inverse / model.model.rotary_emb.inv_freq.numpy())
    if name == "phi3":
        made["rope_factors_short.weight"] = floats(np.array(SHORT))
        made["rope_factors_long.weight"] = floats(np.array(LONG))
    return made


def save_gguf(
    name: str, path: Path, model: Any, gguf: Any, more: Mapping[str, Any] | None = None
) -> Path:
    """`more`: further metadata, a tokenizer's for example."""
    known = {**metadata(name, model.config), **(more or {})}
    return save(path, known, tensors(name, model, gguf))


def _permuted(called: str, values: NDArray[Any], config: Any) -> NDArray[Any]:
    """As the converter puts the two halves of each head's rows in turn."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = heads.get(called.split(".")[-2])
    if count is None:
        return values
    halves = values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
