"""The families of models that a description can be made of, by what their settings say.

All are decoders that differ in few things. Every setting of a family is known here, and so are its
values: one that is passed over would give wrong text without an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from minivault.engine.native.config import Config
from minivault.engine.native.description import Activation
from minivault.engine.native.plan import Plan
from minivault.engine.native.rope import Rope, read_rope

# Settings that change no text here: how a model was trained and saved, what makes tokens of text,
# and how others run it.
IDLE = (
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "initializer_range",
    "is_llama_config",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "resid_pdrop",
    "return_dict",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
)
# What may stand there with this value alone.
_ONLY: dict[str, Any] = {
    "add_cross_attention": False,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "chunk_size_feed_forward": 0,
    "rope_interleaved": False,
    "use_mrope": False,
}
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


def plan_of(settings: Mapping[str, Any]) -> Plan | None:
    """None for a family that is not known here. Raises Unsupported for a setting that is not."""
    family = FAMILIES.get(settings.get("model_type", ""))
    if family is None:
        return None
    config = Config(settings)
    plan = family(config)
    config.skip(*IDLE)
    for name, value in _ONLY.items():
        config.demand(name, value)
    config.finish()
    return plan


def _common(config: Config, *, tied: bool = False, activation: str = "hidden_act") -> Plan:
    """What all families say but how positions are told; they add what they have beside it."""
    hidden, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    depth = config.whole("num_hidden_layers")
    kv_heads = config.whole("num_key_value_heads", heads)
    width = config.whole("head_dim", hidden // heads or None)
    if heads % kv_heads:
        raise config.wrong("num_key_value_heads")
    return Plan(
        vocabulary=config.whole("vocab_size"),
        hidden=hidden,
        inner=config.whole("intermediate_size"),
        depth=depth,
        heads=heads,
        kv_heads=kv_heads,
        head_width=width,
        longest=config.whole("max_position_embeddings"),
        epsilon=config.number("rms_norm_eps"),
        activation=_activation(config, activation),
        tied=config.flag("tie_word_embeddings", default=tied),
        rotations=(0,) * depth,
        windows=(0,) * depth,
        scale=1 / math.sqrt(width),
    )


def _turned(config: Config, plan: Plan, theta: float = 10_000.0) -> Plan:
    """With its one kind of rotary positions, in today's form or in the one before."""
    trained = None
    if config.get("original_max_position_embeddings") is not None:
        trained = config.whole("original_max_position_embeddings")
    rope = read_rope(
        _rope_settings(config),
        plan.head_width,
        plan.longest,
        theta=config.number("rope_theta", theta),
        share=config.number("partial_rotary_factor", 1.0),
        trained=trained,
    )
    return replace(plan, ropes=(rope,))


def _rope_settings(config: Config) -> Config:
    old, new = config.objects("rope_scaling"), config.objects("rope_parameters")
    return new if config.get("rope_parameters") else old


def _activation(config: Config, name: str) -> Activation:
    value = config.get(name) or ("silu" if name == "hidden_act" else "gelu_pytorch_tanh")
    if value not in _ACTIVATIONS:
        raise config.wrong(name)
    return _ACTIVATIONS[value]


def _windows(config: Config, plan: Plan, window: int) -> tuple[int, ...]:
    """As `layer_types` says of each layer; all the same where it says nothing."""
    types = config.get("layer_types")
    if types is None:
        return (window,) * plan.depth
    widths = {"full_attention": 0, "sliding_attention": window}
    if not isinstance(types, list) or len(types) != plan.depth or not set(types) <= widths.keys():
        raise config.wrong("layer_types")
    if "sliding_attention" in types and not window:
        raise config.wrong("sliding_window")
    return tuple(widths[each] for each in types)


def _window(config: Config) -> int:
    return config.whole("sliding_window") if config.get("sliding_window") is not None else 0


def _llama(config: Config, *, theta: float = 10_000.0, tied: bool = False) -> Plan:
    plan = _turned(config, _common(config, tied=tied), theta)
    return replace(_biased(config, plan), network_bias=config.flag("mlp_bias"))


def _biased(config: Config, plan: Plan) -> Plan:
    biased = config.flag("attention_bias")
    return replace(plan, attention_bias=biased, merge_bias=biased)


def _mistral(config: Config) -> Plan:
    if not config.given("sliding_window"):  # transformers would take one
        raise config.wrong("sliding_window")
    plan = _turned(config, _common(config))
    return replace(plan, windows=(_window(config),) * plan.depth)


def _ministral3(config: Config) -> Plan:
    config.whole("head_dim")
    plan, rope = _common(config), _rope_settings(config)
    rope.skip("max_position_embeddings")
    growing = rope.number("llama_4_scaling_beta")
    trained = rope.whole("original_max_position_embeddings")
    theta = config.number("rope_theta", 10_000.0)
    return replace(
        plan,
        ropes=(read_rope(rope, plan.head_width, plan.longest, theta=theta),),
        windows=(_window(config),) * plan.depth,
        growing=growing,
        trained=trained,
    )


def _qwen2(config: Config) -> Plan:
    return replace(_windowed(config), attention_bias=True)


def _qwen3(config: Config) -> Plan:
    config.whole("head_dim")
    return replace(_biased(config, _windowed(config)), head_norms="each")


def _windowed(config: Config) -> Plan:
    """Qwen's layers have windows from one on, where a switch says so."""
    plan = _turned(config, _common(config))
    first = config.get("max_window_layers")
    window = _window(config) if config.flag("use_sliding_window") else 0
    config.skip("sliding_window")
    if window and config.get("layer_types") is None:
        if not isinstance(first, int):
            raise config.wrong("max_window_layers")
        return replace(plan, windows=tuple(window * (n >= first) for n in range(plan.depth)))
    return replace(plan, windows=_windows(config, plan, window))


def _smollm3(config: Config) -> Plan:
    plan = _llama(config, theta=2_000_000.0, tied=True)
    interval = config.whole("no_rope_layer_interval", 4)
    turned = config.get("no_rope_layers")
    if turned is None:
        turned = [int((n + 1) % interval != 0) for n in range(plan.depth)]
    if not isinstance(turned, list) or len(turned) < plan.depth or not {*turned} <= {0, 1}:
        raise config.wrong("no_rope_layers")
    config.demand("use_sliding_window", False)
    config.demand("layer_types", ["full_attention"] * plan.depth)
    config.skip("sliding_window", "max_window_layers")
    return replace(plan, rotations=tuple(0 if each else None for each in turned[: plan.depth]))


def _granite(config: Config) -> Plan:
    return replace(
        _llama(config),
        embedding=config.number("embedding_multiplier", 1.0),
        residual=config.number("residual_multiplier", 1.0),
        logits=config.number("logits_scaling", 1.0),
        scale=config.number("attention_multiplier", 1.0),
    )


def _gemma3(config: Config) -> Plan:
    """Some layers look back a little way alone, and turn faster."""
    config.whole("head_dim")
    plan = _common(config, tied=True, activation="hidden_activation")
    every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    config.skip("_sliding_window_pattern")
    window = config.whole("sliding_window")
    if config.get("layer_types") is not None:
        windows = _windows(config, plan, window)
    elif isinstance(every, int):
        windows = tuple(window if (n + 1) % every else 0 for n in range(plan.depth))
    else:
        raise config.wrong("sliding_window_pattern")
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        config.demand(name)
    config.demand("use_bidirectional_attention", False)
    return replace(
        _biased(config, plan),
        ropes=_gemma3_ropes(config, plan),
        rotations=tuple(int(each > 0) for each in windows),
        windows=windows,
        scale=1 / math.sqrt(config.whole("query_pre_attn_scalar", 256)),
        norms="both",
        norms_plus_one=True,
        head_norms="each",
        embedding=math.sqrt(plan.hidden),
    )


def _gemma3_ropes(config: Config, plan: Plan) -> tuple[Rope, Rope]:
    """Of layers that look back all the way, and of the others."""
    both = config.objects("rope_parameters")
    far, near = both.objects("full_attention"), both.objects("sliding_attention")
    both.finish()
    old = config.objects("rope_scaling")
    if config.get("rope_scaling"):
        far = old
    bases = {
        "rope_theta": (far, 1_000_000.0),
        "rope_local_base_freq": (near, 10_000.0),
    }
    one, other = (
        read_rope(each, plan.head_width, plan.longest, theta=config.number(name, theta))
        for name, (each, theta) in bases.items()
    )
    return one, other


def _phi3(config: Config) -> Plan:
    plan = _turned(config, _common(config))
    for name in ("full_attn_mod", "interpolate_factor"):
        config.demand(name, 1)
    for name in ("attention_bias", "lm_head_bias", "mlp_bias"):
        config.demand(name, False)
    return replace(plan, fused=True, windows=(_window(config),) * plan.depth)


def _olmo2(config: Config) -> Plan:
    plan = _biased(config, _turned(config, _common(config)))
    return replace(plan, norms="after", head_norms="together")


FAMILIES: dict[str, Callable[[Config], Plan]] = {
    "llama": _llama,
    "mistral": _mistral,
    "ministral3": _ministral3,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "smollm3": _smollm3,
    "granite": _granite,
    "gemma3_text": _gemma3,
    "phi3": _phi3,
    "olmo2": _olmo2,
}
