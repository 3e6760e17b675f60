"""What a GGUF file says of its model, as the config that transformers knows its family by.

Every key of the file's architecture must be known here, and so must its value: one that is passed
over would give wrong answers without an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minivault.errors import ModelUnusable
from minivault.gguf.fields import Fields
from minivault.gguf.reader import GgufFile
from minivault.gguf.rope import rope_of


@dataclass(frozen=True, slots=True)
class Family:
    """How one architecture of GGUF is told to transformers.

    `neighbours`: rows of queries and keys lie so that RoPE turns neighbours, not halves.
    `norms_plus_one`: the file's norms have 1 added. `own` adds what this family alone has; where it
    has `learned_positions`, all but the vocabulary.
    """

    model_type: str
    own: Callable[[Fields, dict[str, Any]], None]
    neighbours: bool = False
    norms_plus_one: bool = False
    learned_positions: bool = False


def family_of(file: GgufFile) -> Family:
    """Raises ModelUnusable for an architecture that is not known."""
    architecture = Fields(file).architecture
    if architecture not in FAMILIES:
        raise ModelUnusable(
            f"{file.path.name} is of the architecture {architecture[:40]!r}, which is not "
            f"supported from GGUF; these are: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[architecture]


def config_of(file: GgufFile) -> dict[str, Any]:
    """The config in transformers' words, `model_type` among them.

    Raises ModelUnusable for whatever is missing, contradictory or unknown.
    """
    family, fields = family_of(file), Fields(file)
    if file.metadata.get("general.type", "model") != "model":
        kind = str(file.metadata["general.type"])[:40]
        raise ModelUnusable(f"{file.path.name} holds no whole model but {kind!r}")
    config: dict[str, Any] = {
        "model_type": family.model_type,
        "vocab_size": _vocabulary(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }
    config |= {f"{each}_token_id": None for each in ("bos", "eos", "pad")}  # the tokenizer's matter
    if not family.learned_positions:
        config |= _rotary(fields)
    family.own(fields, config)
    fields.skip("vocab_size", "tensor_data_layout", "rope.scaling.finetuned")
    fields.demand("attention.causal", True)
    for count in ("expert_count", "expert_used_count"):
        fields.demand(count, 0)
    fields.finish()
    return config


def _rotary(fields: Fields) -> dict[str, Any]:
    """What all decoders with rotary positions have."""
    heads = fields.whole("attention.head_count")
    config: dict[str, Any] = {
        "hidden_size": fields.whole("embedding_length"),
        "intermediate_size": fields.whole("feed_forward_length"),
        "num_hidden_layers": fields.whole("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.whole("attention.head_count_kv", heads),
        "max_position_embeddings": fields.whole("context_length"),
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
    }
    if 0 in (heads, config["hidden_size"], config["num_key_value_heads"]):
        raise ModelUnusable(f"{fields.file.path.name} is damaged: a count of heads or a width is 0")
    if config["num_hidden_layers"] > len(fields.file.tensors):
        raise fields.wrong("block_count", config["num_hidden_layers"])
    width = config["hidden_size"] // config["num_attention_heads"]
    config["head_dim"] = keys = fields.whole("attention.key_length", width)
    fields.demand("attention.value_length", keys)
    config["rope_parameters"] = rope_of(fields, config)
    return config


def _vocabulary(file: GgufFile) -> int:
    embeddings = file.tensors.get("token_embd.weight")
    if embeddings is None or len(embeddings.shape) != 2:
        raise ModelUnusable(f"{file.path.name} lacks the tensor token_embd.weight")
    return embeddings.shape[0]


def _whole_rotary(fields: Fields, config: dict[str, Any]) -> None:
    fields.demand("rope.dimension_count", config["head_dim"])


def _llama(fields: Fields, config: dict[str, Any]) -> None:
    _whole_rotary(fields, config)
    for name, tensor in (("attention_bias", "attn_q"), ("mlp_bias", "ffn_gate")):
        config[name] = f"blk.0.{tensor}.bias" in fields.file.tensors


def _mistral3(fields: Fields, config: dict[str, Any]) -> None:
    _whole_rotary(fields, config)
    rope = config["rope_parameters"]
    rope["llama_4_scaling_beta"] = fields.number("attention.temperature_scale", 0.0)
    rope.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    if rope["rope_type"] == "yarn":
        fields.demand("rope.scaling.yarn_log_multiplier", 1.0)
        rope |= {"mscale": 1.0, "mscale_all_dim": 1.0}
    config["rope_parameters"] = rope


def _granite(fields: Fields, config: dict[str, Any]) -> None:
    _llama(fields, config)
    fields.demand("rope.scaling.finetuned", True)  # here the switch of RoPE itself
    config |= {
        "embedding_multiplier": fields.number("embedding_scale", 1.0),
        "residual_multiplier": fields.number("residual_scale", 1.0),
        "logits_scaling": fields.number("logit_scale", 1.0),
        "attention_multiplier": fields.number("attention.scale", config["head_dim"] ** -0.5),
    }


def _gemma3(fields: Fields, config: dict[str, Any]) -> None:
    """Five layers of six look back no further than the window, and turn by a base of their own."""
    _whole_rotary(fields, config)
    near = {"rope_type": "default", "rope_theta": fields.number("rope.freq_base_swa", 10000.0)}
    layers, width = config["num_hidden_layers"], config["head_dim"]
    largest = layers == 62  # the 27B, the one model whose scale is not its heads' width
    config |= {
        "model_type": "gemma3_text",
        "rope_parameters": {
            "full_attention": config["rope_parameters"],
            "sliding_attention": near,
        },
        "sliding_window": fields.whole("attention.sliding_window"),
        "sliding_window_pattern": fields.whole("attention.sliding_window_pattern", 6),
        "query_pre_attn_scalar": (
            config["hidden_size"] // config["num_attention_heads"] if largest else width
        ),
    }
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        config[key] = fields.number(key, 0.0) or None


def _phi3(fields: Fields, config: dict[str, Any]) -> None:
    width = config.pop("head_dim")
    if width != config["hidden_size"] // config["num_attention_heads"]:
        raise fields.wrong("attention.key_length", width)
    rotary = fields.whole("rope.dimension_count", width)
    window = fields.whole("attention.sliding_window", 0)
    rope = config["rope_parameters"]
    rope["partial_rotary_factor"] = rotary / width
    trained = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
    config |= {
        "original_max_position_embeddings": trained,
        "sliding_window": window if 0 < window < config["max_position_embeddings"] else None,
    }


def _gpt2(fields: Fields, config: dict[str, Any]) -> None:
    heads, hidden = fields.whole("attention.head_count"), fields.whole("embedding_length")
    fields.demand("attention.head_count_kv", heads)
    config |= {
        "n_embd": hidden,
        "n_inner": fields.whole("feed_forward_length", 4 * hidden),
        "n_layer": fields.whole("block_count"),
        "n_head": heads,
        "n_positions": fields.whole("context_length"),
        "layer_norm_epsilon": fields.number("attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }
    if config["n_layer"] > len(fields.file.tensors):
        raise fields.wrong("block_count", config["n_layer"])


#: By `general.architecture`. A Mistral says that it is a llama, since it differs in nothing.
FAMILIES = {
    "gpt2": Family("gpt2", _gpt2, learned_positions=True),
    "llama": Family("llama", _llama, neighbours=True),
    "mistral3": Family("ministral3", _mistral3, neighbours=True),
    "qwen2": Family("qwen2", _whole_rotary),
    "qwen3": Family("qwen3", _whole_rotary),
    "smollm3": Family("smollm3", _llama, neighbours=True),
    "granite": Family("granite", _granite, neighbours=True),
    "gemma3": Family("gemma3_text", _gemma3, norms_plus_one=True),
    "phi3": Family("phi3", _phi3),
    "olmo2": Family("olmo2", _whole_rotary),
}
