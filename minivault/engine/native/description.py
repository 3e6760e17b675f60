"""A decoder as data: what a family of models is to the C files; see decoder.h."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from minivault.engine.native.groups import Groups
from minivault.engine.native.numbers import Array

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
Norm = Literal["layer", "rms"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a product (outputs, inputs), or of a norm; and what is added, if anything is."""

    weight: Array | Groups
    bias: Array | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """The parts of `project` make queries of all heads, then keys, then values, side by side.

    Where there are gates, the parts of `widen` make those first, then as many values. Norms before
    and after the layer's halves may be missing, as may those of `queries` and `keys`: one for each
    head, or one for all of them together. `rotation` says which of the tables turns them; `window`
    how many positions are attended to, 0 all; `scale` is of their scores.
    """

    project: tuple[Weights, ...]
    merge: Weights
    widen: tuple[Weights, ...]
    narrow: Weights
    scale: float
    before_attention: Weights | None = None
    after_attention: Weights | None = None
    before_network: Weights | None = None
    after_network: Weights | None = None
    queries: Weights | None = None
    keys: Weights | None = None
    rotation: int | None = None
    window: int = 0


@dataclass(frozen=True, slots=True)
class Description:
    """Of a model for texts of up to `longest` tokens, to be used for some of up to `context`.

    `hidden` numbers pass from layer to layer; `inner` are in the middle of its network.

    `layer` makes one of `depth` layers whenever it is asked for: what it holds may be read from
    files just then. `kv_heads` heads of keys and values are shared by `heads` of queries; their
    width is free. `positions` (context, hidden) are added to the tokens, which are multiplied with
    `embedding` before; `rotations` (tables, context, rotary width) hold cosines and sines that turn
    queries and keys; `stretch` (context,) makes queries longer. `gated`: the activation is of
    gates. `residual`: a factor of whatever is added to the numbers between the layers.
    """

    architecture: str
    longest: int
    context: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    norm: Norm
    epsilon: float
    activation: Activation
    tokens: Array
    depth: int
    layer: Callable[[int], Layer]
    last: Weights
    head: Array | Groups
    positions: Array | None = None
    rotations: Array | None = None
    stretch: Array | None = None
    gated: bool = False
    embedding: float = 1.0
    residual: float = 1.0

    @property
    def vocabulary(self) -> int:
        return int(self.head.shape[0])
