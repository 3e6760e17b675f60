"""What a decoder of today's kind is made of, and the description that its weights make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from minivault.engine.exact import logarithm
from minivault.engine.native.checkpoint import Checkpoint, Shape, refuse_names
from minivault.engine.native.description import Activation, Description, Layer, Weights
from minivault.engine.native.numbers import Floats, widened
from minivault.engine.native.rope import Rope
from minivault.engine.runner import Unsupported

_TABLE, _HEAD, _LAST = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
_UNUSED = ".rotary_emb.inv_freq"  # old files keep what is made of the settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What settings say of a decoder. Sizes are counts of numbers.

    `ropes` are the kinds of rotary positions; of each layer, `rotations` says which of them it has
    and `windows` how far it looks back (0: all the way). `norms` stand before, after or on both
    sides of a layer's halves, `head_norms` on queries and keys, each head's or all together.
    `fused`: queries, keys and values are one tensor, as are gates and values of the network.
    `growing`: queries grow by this with the logarithm of how often `trained` fits in a position.
    """

    vocabulary: int
    hidden: int
    inner: int
    depth: int
    heads: int
    kv_heads: int
    head_width: int
    longest: int
    epsilon: float
    activation: Activation
    tied: bool
    rotations: tuple[int | None, ...]
    windows: tuple[int, ...]
    scale: float
    ropes: tuple[Rope, ...] = ()
    norms: Literal["before", "after", "both"] = "before"
    norms_plus_one: bool = False
    head_norms: Literal["each", "together"] | None = None
    fused: bool = False
    attention_bias: bool = False
    merge_bias: bool = False
    network_bias: bool = False
    embedding: float = 1.0
    residual: float = 1.0
    logits: float = 1.0
    growing: float = 0.0
    trained: int = 1

    def describe(self, source: Checkpoint, context: int) -> Description:
        """With the weights of `source`, for texts of up to `context` tokens.

        Raises ModelUnusable for tensors that are missing, of another shape or no numbers,
        Unsupported for those that are not known.
        """
        self._check(source)
        table = source.tensor(_TABLE)
        last = self._norm(source, _LAST)
        turned = [each.table(context) for each in self.ropes]
        # For so long a context it takes other factors of its rotary positions.
        is_long = any(each.trained and context > each.trained for each in self.ropes)
        return Description(
            architecture=str(source.config["model_type"]) + (" (long)" if is_long else ""),
            longest=self.longest,
            context=context,
            hidden=self.hidden,
            inner=self.inner,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_width=self.head_width,
            norm="rms",
            epsilon=self.epsilon,
            activation=self.activation,
            gated=True,
            tokens=table,
            depth=self.depth,
            layer=lambda index: self._layer(source, index),
            last=Weights(last / np.float32(self.logits)),
            head=source.weight(_TABLE if self.tied else _HEAD),
            rotations=np.stack(turned),
            stretch=self._stretch(context) if self.growing else None,
            embedding=self.embedding,
            residual=self.residual,
        )

    def default_context(self, most: int) -> int:
        """As much as the model can, up to `most`; no more than what it takes one RoPE table for."""
        return min(self.longest, most, *(each.trained for each in self.ropes if each.trained))

    def _stretch(self, context: int) -> Floats:
        turns = np.arange(context) // self.trained
        grown = [logarithm(1 + turn) for turn in range(int(turns.max()) + 1)]
        return (1 + self.growing * np.array(grown)[turns]).astype(np.float32)

    def _layer(self, source: Checkpoint, index: int) -> Layer:
        at = f"model.layers.{index}."

        def product(name: str, *, bias: bool = False) -> Weights:
            name = f"{at}{name}"
            added = source.tensor(f"{name}.bias") if bias else None
            return Weights(source.weight(f"{name}.weight"), added)

        def norm(name: str) -> Weights:
            return Weights(self._norm(source, f"{at}{name}.weight"))

        norms: dict[str, Any] = {where: norm(name) for where, name in _NORMS[self.norms].items()}
        if self.head_norms:
            norms |= {each: norm(f"self_attn.{each[0]}_norm") for each in ("queries", "keys")}
        return Layer(
            project=tuple(product(each, bias=self.attention_bias) for each in self._projects()),
            merge=product("self_attn.o_proj", bias=self.merge_bias),
            widen=tuple(product(each, bias=self.network_bias) for each in self._widens()),
            narrow=product("mlp.down_proj", bias=self.network_bias),
            scale=self.scale,
            rotation=self.rotations[index],
            window=self.windows[index],
            **norms,
        )

    def _norm(self, source: Checkpoint, name: str) -> Floats:
        weight = widened(source.tensor(name))
        return weight + np.float32(1) if self.norms_plus_one else weight

    def _projects(self) -> dict[str, int]:
        """The tensors that make queries, keys and values, and how many outputs they have."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        if self.fused:
            return {"self_attn.qkv_proj": queries + 2 * keys}
        sizes = {"q": queries, "k": keys, "v": keys}
        return {f"self_attn.{each}_proj": size for each, size in sizes.items()}

    def _widens(self) -> dict[str, int]:
        """Gates first."""
        if self.fused:
            return {"mlp.gate_up_proj": 2 * self.inner}
        return {"mlp.gate_proj": self.inner, "mlp.up_proj": self.inner}

    def _check(self, source: Checkpoint) -> None:
        """Of all tensors: that they are there, and are what the settings say."""
        found = {name for name in source.shapes if not name.endswith(_UNUSED)}
        if self.depth > len(found):
            raise Unsupported(f"the settings say {self.depth} layers, of {len(found)} tensors")
        expected = self._shapes()
        if self.tied:
            found.discard(_HEAD)
        if unknown := sorted(found - expected.keys()):
            raise Unsupported(f"it does not know the tensor {unknown[0][:80]}")
        refuse_names("missing", expected.keys() - found)
        wrong = {name for name, shape in expected.items() if source.shapes[name] != shape}
        refuse_names("of another shape than the configuration says", wrong)

    def _shapes(self) -> dict[str, Shape]:
        whole = {_TABLE: (self.vocabulary, self.hidden), _LAST: (self.hidden,)}
        if not self.tied:
            whole[_HEAD] = (self.vocabulary, self.hidden)
        layer = self._layer_shapes()
        return whole | {
            f"model.layers.{index}.{name}": shape
            for index in range(self.depth)
            for name, shape in layer.items()
        }

    def _layer_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}

        def product(name: str, outputs: int, inputs: int, *, bias: bool) -> None:
            shapes[f"{name}.weight"] = (outputs, inputs)
            if bias:
                shapes[f"{name}.bias"] = (outputs,)

        for name, outputs in self._projects().items():
            product(name, outputs, self.hidden, bias=self.attention_bias)
        heads = self.heads * self.head_width
        product("self_attn.o_proj", self.hidden, heads, bias=self.merge_bias)
        for name, outputs in self._widens().items():
            product(name, outputs, self.hidden, bias=self.network_bias)
        product("mlp.down_proj", self.hidden, self.inner, bias=self.network_bias)
        for name in _NORMS[self.norms].values():
            shapes[f"{name}.weight"] = (self.hidden,)
        if self.head_norms:
            together = self.head_norms == "together"
            counts = {"q": self.heads, "k": self.kv_heads}
            for each, count in counts.items():
                width = self.head_width * (count if together else 1)
                shapes[f"self_attn.{each}_norm.weight"] = (width,)
        return shapes


_NORMS = {
    "before": {
        "before_attention": "input_layernorm",
        "before_network": "post_attention_layernorm",
    },
    "after": {
        "after_attention": "post_attention_layernorm",
        "after_network": "post_feedforward_layernorm",
    },
    "both": {
        "before_attention": "input_layernorm",
        "after_attention": "post_attention_layernorm",
        "before_network": "pre_feedforward_layernorm",
        "after_network": "post_feedforward_layernorm",
    },
}
