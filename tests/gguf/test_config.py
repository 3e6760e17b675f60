"""A GGUF file becomes the model that it was made from, or is refused by what is not understood."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minivault.engine.transformers.gguf import gguf_model
from minivault.errors import ModelUnusable
from minivault.gguf.config import config_of
from minivault.gguf.reader import GgufFile
from tests.gguf import models
from tests.gguf.files import Tensor, floats, gguf_bytes, reference, save


@pytest.mark.slow
@pytest.mark.parametrize("name", models.MODELS)
def test_the_model_computes_what_its_source_computes(name: str, tmp_path: Path) -> None:
    source = models.make(name)
    path = models.save_gguf(name, tmp_path / "tiny.gguf", source, reference())
    model = gguf_model(path, torch.float32)
    row = torch.arange(60)[None] * 7 % 96  # past the windows, and past what RoPE was trained for
    with torch.inference_mode():
        expected, found = source(row).logits, model(row).logits
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


@cache
def llama() -> tuple[dict[str, Any], dict[str, Tensor]]:
    source = models.make("llama")
    return models.metadata("llama", source.config), models.tensors("llama", source, reference())


Change = Callable[[dict[str, Any], dict[str, Tensor]], object]
SMALL = floats(np.ones(64))
WRONG: dict[str, tuple[Change, str]] = {
    "no architecture": (lambda keys, _: keys.pop("general.architecture"), "its architecture"),
    "an unknown one": (
        lambda keys, _: keys.update({"general.architecture": "rwkv7"}),
        "architecture 'rwkv7', which is not supported from GGUF; these are: gemma3, gpt2, granite,",
    ),
    "an adapter": (lambda keys, _: keys.update({"general.type": "adapter"}), "'adapter'"),
    "a missing key": (lambda keys, _: keys.pop("llama.block_count"), "lacks llama.block_count"),
    "an unknown key": (
        lambda keys, _: keys.update({"llama.attention.sliding_window": 8}),
        "llama.attention.sliding_window = 8, which is not supported",
    ),
    "experts": (lambda keys, _: keys.update({"llama.expert_count": 8}), "llama.expert_count = 8"),
    "a kind of scaling": (
        lambda keys, _: keys.update({"llama.rope.scaling.type": "dynamic"}),
        "llama.rope.scaling.type = dynamic",
    ),
    "half a rotation": (
        lambda keys, _: keys.update({"llama.rope.dimension_count": 8}),
        "llama.rope.dimension_count = 8",
    ),
    "heads that differ": (
        lambda keys, _: keys.update({"llama.attention.head_count_kv": [2, 2, 1, 2]}),
        "llama.attention.head_count_kv = [2 2 1 2]",
    ),
    "no heads": (lambda keys, _: keys.update({"llama.attention.head_count": 0}), "is 0"),
    "a word for a number": (
        lambda keys, _: keys.update({"llama.block_count": "many"}),
        "llama.block_count = many",
    ),
    "no number": (
        lambda keys, _: keys.update({"llama.rope.freq_base": float("nan")}),
        "llama.rope.freq_base = nan",
    ),
    "more layers than tensors": (
        lambda keys, _: keys.update({"llama.block_count": 2**31}),
        "llama.block_count = 2147483648",
    ),
    "a layer too few": (lambda keys, _: keys.update({"llama.block_count": 3}), "layers.3."),
    "a wider network": (
        lambda keys, _: keys.update({"llama.feed_forward_length": 2**31}),
        "mlp.gate_proj.weight of (96, 64); expected: (2147483648, 64)",
    ),
    "no embeddings": (lambda _, tensors: tensors.pop("token_embd.weight"), "token_embd.weight"),
    "a lacking tensor": (
        lambda _, tensors: tensors.pop("blk.1.ffn_up.weight"),
        "lacks model.layers.1.mlp.up_proj.weight",
    ),
    "an unknown tensor": (
        lambda _, tensors: tensors.update({"blk.0.attn_sinks.weight": SMALL}),
        "'blk.0.attn_sinks.weight', which is not known",
    ),
    "a tensor of another family": (
        lambda _, tensors: tensors.update({"blk.0.attn_q_norm.weight": SMALL}),
        "self_attn.q_norm.weight",
    ),
    "factors": (
        lambda _, tensors: tensors.update({"rope_freqs.weight": floats(np.array([1.0, 2.0] * 4))}),
        "rope_freqs.weight unlike Llama 3's",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_refused_by_name(case: str, tmp_path: Path) -> None:
    change, why = WRONG[case]
    keys, tensors = (dict(each) for each in llama())
    change(keys, tensors)
    path = save(tmp_path / "tiny.gguf", keys, tensors)
    with pytest.raises(ModelUnusable) as raised:
        gguf_model(path, torch.float32)
    message = str(raised.value)
    assert message.startswith("tiny.gguf ")
    assert why in message


def test_granite_without_positions_is_refused(tmp_path: Path) -> None:
    source = models.make("granite")
    keys = models.metadata("granite", source.config) | {"granite.rope.scaling.finetuned": False}
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes(keys, models.tensors("granite", source, reference())))
    with pytest.raises(ModelUnusable, match=r"granite\.rope\.scaling\.finetuned = False"):
        config_of(GgufFile.open(path))
