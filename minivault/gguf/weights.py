"""The tensors of a GGUF file under the names and in the order that transformers gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.errors import ModelUnusable
from minivault.gguf.config import Family
from minivault.gguf.reader import GgufFile
from minivault.gguf.rope import ROPE_TENSORS

_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_OF_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Where a family means something else by a name.
_OF_FAMILY = {
    "gemma3_text": {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    "olmo2": {
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
}


def weights_of(
    file: GgufFile, family: Family, config: dict[str, Any]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor in float32 with its name in transformers, one after the other.

    Raises ModelUnusable for one that has no place there.
    """
    for name, tensor in file.tensors.items():
        if name in ROPE_TENSORS:  # in the config already
            continue
        values = tensor.values()
        if family.neighbours and (heads := _heads(name, config)):
            values = values[halves_from_neighbours(len(values), heads, name)]
        if family.norms_plus_one and name.endswith("_norm.weight"):
            values = values - np.float32(1)
        yield _name(file, family, name), values


def halves_from_neighbours(rows: int, heads: int, name: str = "it") -> NDArray[np.intp]:
    """Which row of the file is each row of queries or keys, where the file pairs neighbours.

    In the file the rows 2i and 2i + 1 of a head are turned together by RoPE; in transformers, and
    here, the rows i and i + half. Works on blocks and biases as well, since both go by rows.
    """
    width, rest = divmod(rows, heads)
    if rest or width % 2:
        raise ModelUnusable(f"{name} has {rows} rows, which are not {heads} heads of an even width")
    return np.arange(rows).reshape(heads, width // 2, 2).swapaxes(1, 2).ravel()


def _heads(name: str, config: dict[str, Any]) -> int:
    """How many heads the rows of this tensor are; 0 if RoPE does not turn them."""
    stem = name.rpartition(".")[0].rpartition(".")[2]
    counts = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
    return int(config[counts[stem]]) if stem in counts else 0


def _name(file: GgufFile, family: Family, name: str) -> str:
    stem, _, kind = name.rpartition(".")
    parts = stem.split(".")
    place = None
    if len(parts) == 1:
        place = _WHOLE.get(stem)
    elif len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal():
        called = {**_OF_LAYER, **_OF_FAMILY.get(family.model_type, {})}.get(parts[2])
        place = called and f"model.layers.{parts[1]}.{called}"
    if place is None or kind not in ("weight", "bias"):
        raise ModelUnusable(f"{file.path.name} holds the tensor {name[:80]!r}, which is not known")
    return f"{place}.{kind}"
