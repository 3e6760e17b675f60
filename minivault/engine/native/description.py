"""A decoder as data: what a family of models is to the C files; see decoder.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
Norm = Literal["layer", "rms"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a product (outputs, inputs), or of a norm; and what is added, if anything is."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """`project` makes queries of all heads, then keys, then values; `scale` is of their scores.

    Where there are gates, `widen` makes those first, then as many values.
    """

    before_attention: Weights
    project: Weights
    merge: Weights
    before_network: Weights
    widen: Weights
    narrow: Weights
    scale: float


@dataclass(frozen=True, slots=True)
class Description:
    """`hidden` numbers pass from layer to layer; `inner` are in the middle of its network.

    `kv_heads` heads of keys and values are shared by `heads` of queries; their width is free.
    `positions` (context, hidden) are added to the tokens, `rotations` (context, head width) hold
    cosines and sines that turn queries and keys. `gated`: the activation is of gates.
    """

    context: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    norm: Norm
    epsilon: float
    activation: Activation
    tokens: Tensor
    layers: Sequence[Layer]
    last: Weights
    head: Tensor
    positions: Tensor | None = None
    rotations: Tensor | None = None
    gated: bool = False

    @property
    def vocabulary(self) -> int:
        return len(self.head)
