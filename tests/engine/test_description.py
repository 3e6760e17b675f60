"""A family of models is a description: the decoder computes what transformers computes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minivault.engine.native.decoder import Decoder
from minivault.engine.native.description import Description, Layer, Weights
from minivault.engine.runner import Dtype
from tests.engine.gpt2_models import random_prompt
from tests.engine.small_models import save_model
from tests.tools import tool


def rotations(context: int, width: int, theta: float = 10_000.0) -> Tensor:
    """Cosines of all pairs of a head, then sines: (context, width)."""
    turns = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * turns
    return torch.cat([angles.cos(), angles.sin()], 1).float()


def described(model: Any) -> Description:
    """A Llama: RMS norms, rotary positions, shared keys and values, gates, no biases."""
    config, weights = model.config, dict(model.state_dict())
    width = config.hidden_size // config.num_attention_heads

    def joined(layer: int, *names: str) -> Weights:
        every = [weights[f"model.layers.{layer}.{name}.weight"] for name in names]
        return Weights(torch.cat(every))

    layers = [
        Layer(
            before_attention=joined(index, "input_layernorm"),
            project=joined(index, *(f"self_attn.{each}_proj" for each in "qkv")),
            merge=joined(index, "self_attn.o_proj"),
            before_network=joined(index, "post_attention_layernorm"),
            widen=joined(index, "mlp.gate_proj", "mlp.up_proj"),
            narrow=joined(index, "mlp.down_proj"),
            scale=width**-0.5,
        )
        for index in range(config.num_hidden_layers)
    ]
    return Description(
        context=256,
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=width,
        norm="rms",
        epsilon=config.rms_norm_eps,
        activation="silu",
        gated=True,
        tokens=weights["model.embed_tokens.weight"],
        rotations=rotations(256, width),
        layers=layers,
        last=Weights(weights["model.norm.weight"]),
        head=weights["lm_head.weight"],
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import transformers

    tool("cc")
    folder: Path = save_model("llama", tmp_path_factory.mktemp("models") / "llama")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-5), ("bfloat16", 0.15), ("int8", 0.3)])
@torch.inference_mode()
def test_another_family_is_another_description(llama: Any, dtype: Dtype, bound: float) -> None:
    decoder = Decoder(described(llama), dtype=dtype, threads=2, slots=4)
    assert decoder.reproducible
    tokens = random_prompt(3, 100, len(llama.get_output_embeddings().weight))
    slot = decoder.cache.take()
    decoder.prefill(slot, 0, tokens[:64])
    decoder.run(tokens[64:], [slot] * 36, range(64, 100))
    expected = llama(torch.tensor([tokens])).logits[0, 64:]
    found = decoder.logits(36)
    assert float((found - expected).abs().max() / expected.abs().max()) < bound
