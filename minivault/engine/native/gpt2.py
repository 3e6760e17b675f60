"""Describes a GPT-2 (Radford et al. 2019) by its files, in every layout of the wild."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.engine.native.checkpoint import Checkpoint, refuse_names
from minivault.engine.native.description import Activation, Description, Layer, Weights
from minivault.engine.native.numbers import Array
from minivault.engine.runner import Unsupported
from minivault.errors import ModelUnusable

_ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
# What may stand in a configuration only with this value.
_ONLY = {"add_cross_attention": False, "is_decoder": None, "quantization_config": None}
_IN_LAYER = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
_BUFFERS = (".attn.bias", ".attn.masked_bias")


@dataclass(frozen=True, slots=True)
class Gpt2Shape:
    """What the configuration says; sizes in numbers, not bytes."""

    vocabulary: int
    context: int
    hidden: int
    layers: int
    heads: int
    inner: int
    activation: Activation
    epsilon: float
    tied: bool
    scale_by_width: bool
    scale_by_layer: bool

    def scale(self, layer: int) -> float:
        """What attention scores of a layer are multiplied with."""
        scale = 1 / math.sqrt(self.hidden // self.heads) if self.scale_by_width else 1.0
        return scale / (layer + 1) if self.scale_by_layer else scale


def describe(source: Checkpoint, context: int | None = None) -> Description:
    """For texts of up to `context` tokens, None: as many as the model can.

    Raises Unsupported for what is no plain GPT-2, ModelUnusable for files that are wrong.
    """
    shape = read_shape(source.config)
    names = _names(source, shape)
    context = min(context or shape.context, shape.context)

    def tensor(name: str) -> Array:
        return source.tensor(names[name])

    def norm(name: str) -> Weights:
        return Weights(tensor(f"{name}.weight"), tensor(f"{name}.bias"))

    def product(name: str) -> Weights:
        weight = source.weight(names[f"{name}.weight"], inputs_first=True)
        return Weights(weight, tensor(f"{name}.bias"))

    def layer(index: int) -> Layer:
        return Layer(
            before_attention=norm(f"h.{index}.ln_1"),
            project=(product(f"h.{index}.attn.c_attn"),),
            merge=product(f"h.{index}.attn.c_proj"),
            before_network=norm(f"h.{index}.ln_2"),
            widen=(product(f"h.{index}.mlp.c_fc"),),
            narrow=product(f"h.{index}.mlp.c_proj"),
            scale=shape.scale(index),
        )

    return Description(
        architecture="gpt2",
        longest=shape.context,
        context=context,
        hidden=shape.hidden,
        inner=shape.inner,
        heads=shape.heads,
        kv_heads=shape.heads,
        head_width=shape.hidden // shape.heads,
        norm="layer",
        epsilon=shape.epsilon,
        activation=shape.activation,
        tokens=tensor("wte.weight"),
        positions=tensor("wpe.weight")[:context],
        depth=shape.layers,
        layer=layer,
        last=norm("ln_f"),
        head=source.weight(names["wte.weight" if shape.tied else "lm_head.weight"]),
    )


def read_shape(config: Mapping[str, Any]) -> Gpt2Shape:
    """Raises Unsupported for what is no plain GPT-2."""
    if config.get("model_type") != "gpt2":
        raise Unsupported(f"model type {config.get('model_type')}")
    for name, value in _ONLY.items():
        if config.get(name, value) not in (value, False):
            raise Unsupported(f"{name} = {config[name]}")
    activation = config.get("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise Unsupported(f"activation {activation}")
    try:
        return _shape(config, _ACTIVATIONS[activation])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Unsupported(f"configuration: {error!r}") from error


def _names(source: Checkpoint, shape: Gpt2Shape) -> dict[str, str]:
    """The tensors' names by those without `transformer.`; `lm_head.weight` only if not tied.

    Raises ModelUnusable with the names of tensors that are missing, unknown or of another shape.
    """
    names = {
        name.removeprefix("transformer."): name
        for name in source.shapes
        if not name.endswith(_BUFFERS)
    }
    if shape.tied:
        names.pop("lm_head.weight", None)
    if shape.layers > len(names):
        raise ModelUnusable(f"the settings say {shape.layers} layers, of {len(names)} tensors")
    expected = _expected(shape)
    refuse_names("missing", expected.keys() - names.keys())
    refuse_names("unknown", names.keys() - expected.keys())
    wrong = {name for name, size in expected.items() if source.shapes[names[name]] != size}
    refuse_names("of another shape than the configuration says", wrong)
    return names


def _shape(config: Mapping[str, Any], activation: Activation) -> Gpt2Shape:
    for name in ("n_embd", "n_head", "n_layer", "n_positions", "vocab_size"):
        if int(config[name]) < 1:
            raise ValueError(f"{name} is less than one")
    hidden, heads = int(config["n_embd"]), int(config["n_head"])
    if hidden % heads:
        raise ValueError("n_embd is no multiple of n_head")
    return Gpt2Shape(
        vocabulary=int(config["vocab_size"]),
        context=int(config["n_positions"]),
        hidden=hidden,
        layers=int(config["n_layer"]),
        heads=heads,
        inner=int(config.get("n_inner") or 4 * hidden),
        activation=activation,
        epsilon=float(config.get("layer_norm_epsilon", 1e-5)),
        tied=bool(config.get("tie_word_embeddings", True)),
        scale_by_width=bool(config.get("scale_attn_weights", True)),
        scale_by_layer=bool(config.get("scale_attn_by_inverse_layer_idx", False)),
    )


def _expected(shape: Gpt2Shape) -> dict[str, tuple[int, ...]]:
    hidden, inner = shape.hidden, shape.inner
    sizes: dict[str, tuple[int, ...]] = {
        "wte.weight": (shape.vocabulary, hidden),
        "wpe.weight": (shape.context, hidden),
        "ln_f.weight": (hidden,),
        "ln_f.bias": (hidden,),
    }
    if not shape.tied:
        sizes["lm_head.weight"] = (shape.vocabulary, hidden)
    # ln_1, c_attn, c_proj, ln_2, c_fc, c_proj; a Conv1D holds (inputs, outputs).
    inputs = (None, hidden, hidden, None, hidden, inner)
    outputs = (hidden, 3 * hidden, hidden, hidden, inner, hidden)
    for layer in range(shape.layers):
        for name, into, out in zip(_IN_LAYER, inputs, outputs, strict=True):
            sizes[f"h.{layer}.{name}.weight"] = (out,) if into is None else (into, out)
            sizes[f"h.{layer}.{name}.bias"] = (out,)
    return sizes
