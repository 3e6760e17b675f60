"""What a configuration may say: numbers that the weights can hold, no foreign formats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.model_store.config import config_problem

MAMBA_2 = {"time_step_limit": [0.0, float("inf")], "num_hidden_layers": 2, "hidden_size": 64}
LLAMA_4 = {"text_config": {"num_hidden_layers": 9, "max_position_embeddings": 10_485_760}}


@pytest.mark.parametrize(
    "config",
    [{}, MAMBA_2, LLAMA_4, {"n_inner": None, "tie": True}, {"rope_theta": 1e9, "seed": 2**60}],
)
def test_what_real_models_say_is_fine(config: dict[str, Any]) -> None:
    assert config_problem(config, tensors=20, elements=100_000) is None


@pytest.mark.parametrize(
    "config, problem",
    [
        ({"n_layer": 1_000_000_000}, "n_layer = 1000000000; these weights allow 20 at most"),
        ({"text_config": {"num_hidden_layers": 21}}, "text_config.num_hidden_layers = 21"),
        ({"n_layer": -(10**400)}, "n_layer = -1000"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"hidden_size": float("nan")}, "hidden_size = nan"),
        ({"num_attention_heads": float("inf")}, "num_attention_heads = inf"),
        ({"n_positions": 2**40}, "n_positions"),
        ({"num_local_experts": 10**8}, "num_local_experts"),
        ([], "no JSON object"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "quantized for MLX"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized by gptq"),
        ({"quantization_config": {}}, "by a method that it does not name"),
    ],
)
def test_what_the_weights_cannot_hold_is_named(config: Any, problem: str) -> None:
    told = config_problem(config, tensors=20, elements=100_000)
    assert told is not None
    assert problem in told
    assert len(told) < 200
    json.dumps(told)
