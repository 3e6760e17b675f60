"""Weights in the order in which the C files read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from minivault.engine.native import library
from minivault.engine.native.library import ACTIVATIONS, GROUP, KINDS, PANEL
from minivault.engine.native.memory import in_large_pages
from minivault.engine.runners.base import Dtype

_TOGETHER = {"float32": 1, "bfloat16": 2, "int8": 4}  # inputs that one instruction multiplies
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Packed:
    """A product's structure, and the memory that it points to."""

    structure: library.Linear
    held: tuple[Tensor | None, ...]


def packed(
    dtype: Dtype, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Packed:
    """`weight` (outputs, inputs) and `bias` (outputs,), which may be dropped afterwards.

    int8: one scale per output, of its largest weight (arXiv:2208.07339, section 2).
    """
    outputs, inputs = weight.shape
    weight = functional.pad(weight, (0, -inputs % GROUP, 0, -outputs % PANEL))
    if bias is not None:
        bias = functional.pad(bias.float(), (0, -outputs % PANEL)).contiguous()
    scale = offset = None
    if dtype == "int8":
        scale = (weight.float().abs().amax(1) / 127).clamp_min(_TINY)
        weight = (weight / scale[:, None]).round().to(torch.int8)
        offset = (weight.sum(1) * -128).int()
    else:
        weight = weight.to(torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    panels = in_large_pages(_panels(weight, _TOGETHER[dtype]))
    held = (panels, bias, scale, offset)
    addresses = (None if each is None else each.data_ptr() for each in held)
    structure = library.Linear(
        *addresses, KINDS[dtype], ACTIVATIONS[activation], len(weight[0]), outputs
    )
    return Packed(structure, held)


def _panels(weight: Tensor, together: int) -> Tensor:
    """(outputs, inputs) to (panels, inputs / together, outputs of a panel, together)."""
    outputs, inputs = weight.shape
    return weight.view(outputs // PANEL, PANEL, inputs // together, together).permute(0, 2, 1, 3)
