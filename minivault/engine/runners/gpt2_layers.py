"""The arithmetic of GPT-2 (Radford et al. 2019), with attention left to the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from minivault.engine.runners.gpt2_files import Gpt2Shape
from minivault.engine.runners.linear import Kind, Linear, make_linear

Attention = Callable[[int, Tensor], Tensor]
"""(layer, (rows, 3 × width) of queries, keys, values side by side) to (rows, width)."""


class Gpt2Layers:
    """Weights, laid out for the device; rows (one token each) never touch but in attention."""

    def __init__(
        self,
        shape: Gpt2Shape,
        weights: Mapping[str, Tensor],
        *,
        dtype: torch.dtype,
        kind: Kind,
        device: torch.device,
    ) -> None:
        """`dtype`: of everything between the products."""
        take = partial(_copied, weights, dtype=dtype, device=device)
        self._shape = shape
        self._tokens = take("wte.weight")
        self._positions = take("wpe.weight")
        self._layers = [Layer(shape, take, f"h.{index}.", kind) for index in range(shape.layers)]
        self._norm = Norm(take, "ln_f", shape.epsilon)
        name = "wte.weight" if shape.tied else "lm_head.weight"
        self._head = Head(kind, take(name), narrow=kind == "int8" or dtype != torch.float32)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(rows,) token ids at their positions to (rows, width)."""
        return self._tokens[tokens].add_(self._positions[positions])

    def run(self, x: Tensor, attention: Attention) -> Tensor:
        """All layers: (rows, width) to (rows, width)."""
        for index, layer in enumerate(self._layers):
            x = layer(x, index, attention)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """(rows, width) to float32 (rows, vocabulary)."""
        return self._head(self._norm(x))

    @property
    def products(self) -> list[tuple[Linear, int]]:
        """Each shape of product once, with the number of its inputs: for the check at load."""
        layer = self._layers[0]
        width, inner = self._shape.width, self._shape.inner
        return [
            (layer.project, width),
            (layer.merge, width),
            (layer.widen, width),
            (layer.narrow, inner),
            (self._head.product, width),
        ]


class Layer:
    """One block: attention and a two-layer network, each added to what came in."""

    def __init__(
        self, shape: Gpt2Shape, take: Callable[[str], Tensor], prefix: str, kind: Kind
    ) -> None:
        def product(name: str) -> tuple[Kind, Tensor, Tensor]:
            return kind, take(f"{prefix}{name}.weight").t(), take(f"{prefix}{name}.bias")

        self._before_attention = Norm(take, f"{prefix}ln_1", shape.epsilon)
        self._before_network = Norm(take, f"{prefix}ln_2", shape.epsilon)
        self.project = make_linear(*product("attn.c_attn"))
        self.merge = make_linear(*product("attn.c_proj"))
        self.widen = make_linear(*product("mlp.c_fc"), shape.activation)
        self.narrow = make_linear(*product("mlp.c_proj"))

    def __call__(self, x: Tensor, index: int, attention: Attention) -> Tensor:
        mixed = attention(index, self.project(self._before_attention(x)))
        x = self.merge(mixed, x)
        return self.narrow(self.widen(self._before_network(x)), x)


class Head:
    """(rows, width) to float32 logits.

    GPT-2's logits share a large offset: around -100, bfloat16 knows only halves. So narrow weights
    are taken from their mean, and the mean is one more output, which is added in float32.
    """

    def __init__(self, kind: Kind, weight: Tensor, *, narrow: bool) -> None:
        self._outputs = len(weight)
        if narrow:
            mean = weight.float().mean(0, keepdim=True)
            weight = torch.cat([weight - mean, mean]).to(weight.dtype)
        self._narrow = narrow
        self.product = make_linear(kind, weight)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.product(x)
        return y[:, : self._outputs] + y[:, self._outputs :].float() if self._narrow else y


class Norm:
    """Layer normalization (arXiv:1607.06450)."""

    def __init__(self, take: Callable[[str], Tensor], name: str, epsilon: float) -> None:
        self._weight = take(f"{name}.weight")
        self._bias = take(f"{name}.bias")
        self._width = self._weight.shape
        self._epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, self._width, self._weight, self._bias, self._epsilon)


def _copied(
    weights: Mapping[str, Tensor], name: str, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A copy, so that nothing keeps the file mapped."""
    return weights[name].to(device=device, dtype=dtype, copy=True)
