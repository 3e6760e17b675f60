"""Weights in the order in which the C files read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from minivault.engine.native.description import Activation, Weights
from minivault.engine.native.groups import Groups, quantized
from minivault.engine.native.library import Memory, constants
from minivault.engine.native.memory import in_large_pages
from minivault.engine.runner import Dtype


def kind(name: str) -> int:
    """`enum kind` of a product, by a width's name or that of `Groups`."""
    return int(getattr(constants, name.upper()))


def activation_code(activation: Activation | None) -> int:
    """`enum activation`."""
    return int(getattr(constants, (activation or "none").upper()))


def packed(
    memory: Memory,
    dtype: Dtype,
    weights: Weights,
    activation: Activation | None = None,
    *,
    gated: bool = False,
) -> dict[str, Any]:
    """The fields of a `struct linear`; the weights may be dropped afterwards.

    Weights that come in groups stay as they are, whatever `dtype` says. `gated`: the first half of
    the outputs are gates of the second, and the product has half as many.
    """
    weight = weights.weight
    if dtype in ("int8", "int4") and isinstance(weight, Tensor):
        weight = quantized(weight.float().numpy(), 8 if dtype == "int8" else 4)
    outputs, inputs = weight.shape
    fields: dict[str, Any] = {
        "kind": kind(weight.kind if isinstance(weight, Groups) else dtype),
        "activation": activation_code(activation),
        "gated": gated,
        "inputs": inputs + -inputs % constants.GROUP,
        "outputs": outputs // 2 if gated else outputs,
    }
    if weights.bias is not None:
        bias = _filled(_beside(weights.bias.float(), gated))
        fields["bias"] = memory.address(bias.contiguous())
    if isinstance(weight, Groups):
        panels = in_large_pages(torch.from_numpy(_group_panels(weight, gated)))
    else:
        weight = weight.to(torch.bfloat16 if dtype == "bfloat16" else torch.float32)
        panels = in_large_pages(_panels(weight, gated))
    return fields | {"weight": memory.address(panels)}


def _panels(weight: Tensor, gated: bool) -> Tensor:
    """(outputs, inputs) to (panels, inputs / together, outputs of a panel, together)."""
    weight = functional.pad(weight, (0, -weight.shape[1] % constants.GROUP))
    filled = _filled(_beside(weight, gated))
    together = 2 if weight.dtype == torch.bfloat16 else 1
    shape = len(filled) // constants.PANEL, constants.PANEL, filled.shape[1] // together, together
    return filled.view(shape).permute(0, 2, 1, 3)


def _group_panels(weight: Groups, gated: bool) -> NDArray[np.uint8]:
    """(panels, groups, bytes): scales, least values, then numbers, four neighbours at a time."""
    panel = constants.PANEL

    def by_panels(each: NDArray[Any]) -> NDArray[Any]:
        own = each if each.flags.writeable else each.copy()  # torch warns of views of a file
        filled = _filled(_beside(torch.from_numpy(own), gated)).numpy()
        return filled.reshape(-1, panel, *each.shape[1:])

    numbers = by_panels(weight.numbers)
    count, _, groups, size = numbers.shape
    numbers = numbers.reshape(count, panel, groups, size // 4, 4).transpose(0, 2, 3, 1, 4)
    parts = [numbers.reshape(count, groups, panel * size)]
    for each in (weight.least, weight.scale):
        if each is not None:
            halves = np.ascontiguousarray(by_panels(each).transpose(0, 2, 1))
            parts.insert(0, halves.view(np.uint8))
    return np.concatenate(parts, axis=2)


def _beside(outputs: Tensor, gated: bool) -> Tensor:
    """Of gates and as many values: 16 gates, then their values, and so on."""
    if not gated:
        return outputs
    half = constants.PANEL // 2
    both = [_filled(each, half) for each in outputs.chunk(2)]
    by_halves = [each.view(-1, half, *each.shape[1:]) for each in both]
    return torch.stack(by_halves, 1).flatten(0, 2)


def _filled(outputs: Tensor, whole: int | None = None) -> Tensor:
    """With zeros after the last output, up to whole panels."""
    missing = -len(outputs) % (whole or constants.PANEL)
    zeros = outputs.new_zeros(missing, *outputs.shape[1:])
    return torch.cat([outputs, zeros]) if missing else outputs
