"""Weights that are no numbers: found before a text is made of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from minivault.errors import ModelUnusable


@torch.inference_mode()
def refuse_no_numbers(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Raises ModelUnusable with the names of weights that hold NaN or infinite numbers."""
    wrong = [name for name, tensor in weights if not _is_finite(tensor)]
    if wrong:
        shown = ", ".join(sorted(wrong)[:3]) + (" …" if len(wrong) > 3 else "")
        raise ModelUnusable(
            f"{len(wrong)} of the weights hold NaN or infinite numbers, so no text can be made: "
            f"{shown}"
        )


def _is_finite(tensor: Tensor) -> bool:
    """A sum tells mostly, and reads the weights once; only where it overflows each is looked at."""
    if not tensor.is_floating_point():
        return True
    if bool(tensor.sum(dtype=torch.float32).isfinite()):
        return True
    return bool(tensor.isfinite().all())
