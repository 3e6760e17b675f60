"""Weights in the order in which the C files read them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from minivault.engine.native.description import Activation, Weights
from minivault.engine.native.library import Memory, constants
from minivault.engine.native.memory import in_large_pages
from minivault.engine.runner import Dtype

_TOGETHER = {"float32": 1, "bfloat16": 2, "int8": 4}  # inputs that one instruction multiplies
_TINY = 1e-30


def kind(dtype: Dtype) -> int:
    """`enum kind` of a product."""
    return int(getattr(constants, dtype.upper()))


def activation_code(activation: Activation | None) -> int:
    """`enum activation`."""
    return int(getattr(constants, (activation or "none").upper()))


def packed(
    memory: Memory, dtype: Dtype, weights: Weights, activation: Activation | None = None
) -> dict[str, Any]:
    """The fields of a `struct linear`; the weights may be dropped afterwards.

    int8: one scale per output, of its largest weight (arXiv:2208.07339, section 2).
    """
    group, panel = constants.GROUP, constants.PANEL
    outputs, inputs = weights.weight.shape
    weight = functional.pad(weights.weight, (0, -inputs % group, 0, -outputs % panel))
    fields: dict[str, Any] = {
        "kind": kind(dtype),
        "activation": activation_code(activation),
        "inputs": len(weight[0]),
        "outputs": outputs,
    }
    if weights.bias is not None:
        bias = functional.pad(weights.bias.float(), (0, -outputs % panel)).contiguous()
        fields["bias"] = memory.address(bias)
    if dtype == "int8":
        scale = (weight.float().abs().amax(1) / 127).clamp_min(_TINY)
        weight = (weight / scale[:, None]).round().to(torch.int8)
        fields["scale"] = memory.address(scale)
        fields["offset"] = memory.address((weight.sum(1) * -128).int())
    else:
        weight = weight.to(torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    panels = in_large_pages(_panels(weight, panel, _TOGETHER[dtype]))
    return fields | {"weight": memory.address(panels)}


def _panels(weight: Tensor, panel: int, together: int) -> Tensor:
    """(outputs, inputs) to (panels, inputs / together, outputs of a panel, together)."""
    outputs, inputs = weight.shape
    shape = outputs // panel, panel, inputs // together, together
    return weight.view(shape).permute(0, 2, 1, 3)
