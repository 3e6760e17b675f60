"""The tensors of a GGUF file under the names and in the order that transformers gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.errors import ModelUnusable
from minivault.gguf.config import Family
from minivault.gguf.reader import GgufFile, GgufTensor
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
    "gpt2": {
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
}
_LAYERS = {"gpt2": "transformer.h"}
_INPUTS_FIRST = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the file under a name of transformers; its numbers are read when asked for.

    `rows`: which of the file's rows is each of its own, where RoPE pairs others. `plus_one`: the
    file holds it with 1 added. `inputs_first`: transformers' tensor is the file's on its side.
    """

    tensor: GgufTensor
    rows: NDArray[np.intp] | None = None
    plus_one: bool = False
    inputs_first: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """As transformers has it."""
        return self.tensor.shape[::-1] if self.inputs_first else self.tensor.shape

    def whole(self) -> NDArray[np.float32]:
        """All of it, as transformers has it."""
        return self.values().T if self.inputs_first else self.values()

    def values(self, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Rows of it in float32; of a product an output each."""
        chosen = rows if self.rows is None else self.rows[rows]
        if len(self.tensor.shape) == 1:
            values = self.tensor.values()[chosen]
        else:
            values = self.tensor.type.values(self.tensor.blocks[chosen])
        return values - np.float32(1) if self.plus_one else values


def weights_of(file: GgufFile, family: Family, config: Mapping[str, Any]) -> dict[str, Weight]:
    """What the file holds, by its names in transformers.

    Raises ModelUnusable for a tensor that has no place there.
    """
    found = {}
    for name, tensor in file.tensors.items():
        if name in ROPE_TENSORS:  # in the config already
            continue
        # RoPE turns the rows of these two alone, head by head.
        stem = name.rpartition(".")[0].rpartition(".")[2]
        counts = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        heads = int(config[counts[stem]]) if family.neighbours and stem in counts else 0
        called = _name(file, family, name)
        found[called] = Weight(
            tensor,
            halves_from_neighbours(tensor.shape[0], heads, name) if heads else None,
            family.norms_plus_one and name.endswith("_norm.weight"),
            called.endswith(_INPUTS_FIRST),
        )
    return found


def halves_from_neighbours(rows: int, heads: int, name: str = "it") -> NDArray[np.intp]:
    """Which row of the file is each row of queries or keys, where the file pairs neighbours.

    In the file the rows 2i and 2i + 1 of a head are turned together by RoPE; in transformers, and
    here, the rows i and i + half. Works on blocks and biases as well, since both go by rows.
    """
    width, rest = divmod(rows, heads)
    if rest or width % 2:
        raise ModelUnusable(f"{name} has {rows} rows, which are not {heads} heads of an even width")
    return np.arange(rows).reshape(heads, width // 2, 2).swapaxes(1, 2).ravel()


def _name(file: GgufFile, family: Family, name: str) -> str:
    stem, _, kind = name.rpartition(".")
    parts, own = stem.split("."), _OF_FAMILY.get(family.model_type, {})
    place = None
    if len(parts) == 1:
        place = {**_WHOLE, **own}.get(stem)
    elif len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal():
        called = {**_OF_LAYER, **own}.get(parts[2])
        layers = _LAYERS.get(family.model_type, "model.layers")
        place = called and f"{layers}.{parts[1]}.{called}"
    if place is None or kind not in ("weight", "bias"):
        raise ModelUnusable(f"{file.path.name} holds the tensor {name[:80]!r}, which is not known")
    return f"{place}.{kind}"
