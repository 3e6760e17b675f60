"""Weights in the order in which the C files read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.native.description import Activation, Weights
from minivault.engine.native.groups import Groups, quantized, refuse_no_numbers
from minivault.engine.native.library import Memory, constants
from minivault.engine.native.memory import LargePages
from minivault.engine.native.numbers import Array, copied, drop_tiny, narrowed, widened
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
        refuse_no_numbers(weight, f"too large for {dtype}; use --dtype bfloat16")
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
        panels = _group_panels(memory.large, weight, gated)
    else:
        numbers = narrowed(weight) if dtype == "bfloat16" else widened(weight)
        ordered = _panels(numbers, gated)
        panels = memory.large.take(ordered.nbytes).view(ordered.dtype).reshape(ordered.shape)
        panels[...] = ordered
        if dtype == "bfloat16":
            drop_tiny(panels.view(np.uint16))
    return fields | {"weight": memory.address(panels)}


def _panels(weight: Array, gated: bool) -> Array:
    """(outputs, inputs) to (panels, inputs, outputs of a panel); two of bfloat16 are one here."""
    missing = -weight.shape[1] % constants.GROUP
    weight = np.pad(weight, ((0, 0), (0, missing))) if missing else weight
    filled = np.ascontiguousarray(_filled(_beside(weight, gated))).view(np.uint32)
    return filled.reshape(-1, constants.PANEL, filled.shape[1]).transpose(0, 2, 1)


def _group_panels(large: LargePages, weight: Groups, gated: bool) -> NDArray[np.uint8]:
    """Bytes of panels, of their groups: scales, least values, then numbers, four at a time.

    All are read and written once, as most of a load's time goes by here.
    """
    panel = constants.PANEL
    halves = [_by_halves(each, gated) for each in (weight.scale, weight.least) if each is not None]
    fours = _by_halves(weight.numbers, gated).view(np.uint32)
    count, _, half, groups, size = fours.shape
    head = 2 * panel * len(halves)
    nbytes = count * groups * (head + 4 * panel * size)
    panels = large.take(nbytes).reshape(count, groups, -1)
    for place, each in enumerate(halves):
        scales = panels[..., 2 * panel * place : 2 * panel * (place + 1)].view(each.dtype)
        scales.reshape(count, groups, 2, half)[:] = each.transpose(0, 3, 1, 2)
    numbers = panels[..., head:].view(np.uint32).reshape(count, groups, size, 2, half)
    numbers[:] = fours.transpose(0, 3, 4, 1, 2)
    return panels


def _by_halves(each: NDArray[Any], gated: bool) -> NDArray[Any]:
    """(panels, 2, half of a panel, …) of the outputs, a view where these are whole panels."""
    half, rest = constants.PANEL // 2, each.shape[1:]
    if len(each) % constants.PANEL:
        each, gated = _filled(_beside(each, gated)), False
    if gated:
        return each.reshape(2, -1, half, *rest).swapaxes(0, 1)
    return each.reshape(-1, 2, half, *rest)


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
