"""Tiny models of many families, each with the borders that its text can cross: lengths, windows."""

from __future__ import annotations

from typing import Any

_TOKENS = {"vocab_size": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_COMMON: dict[str, Any] = _TOKENS | {"initializer_range": 0.4}
_LLAMA = _COMMON | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
}
_HEADS = _LLAMA | {"head_dim": 16}
_WINDOW = _LLAMA | {"sliding_window": 16, "num_hidden_layers": 4}
_WINDOW_HEADS = _WINDOW | {"head_dim": 16}
_SWITCHED = _WINDOW_HEADS | {"use_sliding_window": True, "max_window_layers": 1}
_GPT = _COMMON | {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
_STATES = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
}
_FACTORS = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}


def _rope(kind: str, **options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, "rope_type": kind, **options}}


BORDER = 20
"""The length at which factors change."""

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "llama dynamic": _LLAMA | {"max_position_embeddings": BORDER} | _rope("dynamic", factor=4.0),
    "llama yarn": _LLAMA | _rope("yarn", factor=4.0, original_max_position_embeddings=BORDER),
    "llama llama3": _LLAMA
    | _rope(
        "llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=BORDER,
    ),
    "llama longrope": _LLAMA
    | _rope("longrope", factor=4.0, original_max_position_embeddings=BORDER, **_FACTORS),
    "phi3 longrope": _LLAMA
    | {"max_position_embeddings": 80, "original_max_position_embeddings": BORDER}
    | {"rope_scaling": {"type": "longrope", **_FACTORS}},
    "mistral": _WINDOW,
    "gemma2": _WINDOW_HEADS | {"query_pre_attn_scalar": 16},
    "gemma3_text": _WINDOW_HEADS | {"query_pre_attn_scalar": 16, "num_hidden_layers": 6},
    "qwen2": _SWITCHED,
    "qwen3": _SWITCHED,
    "gpt_oss": _WINDOW_HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "mamba": _COMMON | {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "lfm2": _LLAMA | {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1]},
    "rwkv": _COMMON | {"hidden_size": 64, "num_hidden_layers": 2},
    "recurrent_gemma": _LLAMA
    | {"num_hidden_layers": 3, "lru_width": 64, "attention_window_size": 16},
    "openai-gpt": _GPT,
}
"""Tried by `make test`; the first word is transformers' name of the family."""

MORE: dict[str, dict[str, Any]] = {
    "bamba": _LLAMA | {"attn_layer_indices": [1]} | _STATES,
    "bloom": _COMMON | {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "codegen": _GPT | {"rotary_dim": 8},
    "cohere2": _WINDOW,
    "ernie4_5": _HEADS,
    "exaone": _LLAMA,
    "exaone4": _WINDOW | {"sliding_window_pattern": 4},
    "falcon": _COMMON | {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "glm4": _HEADS,
    "gpt_bigcode": _GPT,
    "gpt_neox": _LLAMA,
    "gptj": _GPT | {"rotary_dim": 8},
    "granite": _LLAMA,
    "hunyuan_v1_dense": _HEADS,
    "llama4_text": _HEADS
    | {"num_hidden_layers": 4, "attention_chunk_size": 16, "num_local_experts": 2}
    | {"intermediate_size_mlp": 64},
    "mamba2": _COMMON
    | {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 32}
    | {"state_size": 8, "n_groups": 1},
    "ministral": _WINDOW_HEADS,
    "ministral3": _HEADS,
    "mpt": _COMMON | {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256},
    "nemotron": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _WINDOW,
    "phi": _LLAMA | {"num_key_value_heads": 4},
    "smollm3": _LLAMA | {"num_hidden_layers": 4, "no_rope_layer_interval": 2},
    "stablelm": _LLAMA,
    "starcoder2": _WINDOW | {"use_sliding_window": True},
}
"""Tried by `make faults`."""
