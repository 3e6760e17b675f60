"""Weights in the order in which the C files read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.native.description import Activation, Weights
from minivault.engine.native.groups import Groups, quantized
from minivault.engine.native.library import Memory, constants
from minivault.engine.native.memory import in_large_pages
from minivault.engine.native.numbers import Array, copied, narrowed, widened
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
    if dtype in ("int8", "int4") and not isinstance(weight, Groups):
        weight = quantized(widened(weight), 8 if dtype == "int8" else 4)
    outputs, inputs = weight.shape
    fields: dict[str, Any] = {
        "kind": kind(weight.kind if isinstance(weight, Groups) else dtype),
        "activation": activation_code(activation),
        "gated": gated,
        "inputs": inputs + -inputs % constants.GROUP,
        "outputs": outputs // 2 if gated else outputs,
    }
    if weights.bias is not None:
        bias = _filled(_beside(widened(weights.bias), gated))
        fields["bias"] = memory.address(copied(bias))
    if isinstance(weight, Groups):
        panels = in_large_pages(_group_panels(weight, gated))
    else:
        numbers = narrowed(weight) if dtype == "bfloat16" else widened(weight)
        panels = in_large_pages(_panels(numbers, gated))
    return fields | {"weight": memory.address(panels)}


def _panels(weight: Array, gated: bool) -> Array:
    """(outputs, inputs) to (panels, inputs, outputs of a panel); two of bfloat16 are one here."""
    missing = -weight.shape[1] % constants.GROUP
    weight = np.pad(weight, ((0, 0), (0, missing))) if missing else weight
    filled = np.ascontiguousarray(_filled(_beside(weight, gated))).view(np.uint32)
    return filled.reshape(-1, constants.PANEL, filled.shape[1]).transpose(0, 2, 1)


def _group_panels(weight: Groups, gated: bool) -> NDArray[np.uint8]:
    """(panels, groups, bytes): scales, least values, then numbers, four neighbours at a time."""
    panel = constants.PANEL

    def by_panels(each: NDArray[Any]) -> NDArray[Any]:
        return _filled(_beside(each, gated)).reshape(-1, panel, *each.shape[1:])

    numbers = by_panels(weight.numbers)
    count, _, groups, size = numbers.shape
    numbers = numbers.reshape(count, panel, groups, size // 4, 4).transpose(0, 2, 3, 1, 4)
    parts = [numbers.reshape(count, groups, panel * size)]
    for each in (weight.least, weight.scale):
        if each is not None:
            halves = np.ascontiguousarray(by_panels(each).transpose(0, 2, 1))
            parts.insert(0, halves.view(np.uint8))
    return np.concatenate(parts, axis=2)


def _beside(outputs: Array, gated: bool) -> Array:
    """Of gates and as many values: 16 gates, then their values, and so on."""
    if not gated:
        return outputs
    half = constants.PANEL // 2
    both = [_filled(each, half) for each in np.split(outputs, 2)]
    by_halves = [each.reshape(-1, half, *each.shape[1:]) for each in both]
    return np.stack(by_halves, 1).reshape(-1, *outputs.shape[1:])


def _filled(outputs: Array, whole: int | None = None) -> Array:
    """With zeros after the last output, up to whole panels."""
    missing = -len(outputs) % (whole or constants.PANEL)
    zeros = np.zeros((missing, *outputs.shape[1:]), outputs.dtype)
    return np.concatenate([outputs, zeros]) if missing else outputs
