"""The optimizers: Muon for the matrices of the blocks, AdamW for everything else.

Muon (Jordan 2024) makes each update of a matrix nearly orthogonal; its rate is scaled so that an
update is as large as AdamW's (Liu 2025, `match_rms_adamw`).
"""

from __future__ import annotations

import torch
from torch import nn

from training.recipe import Recipe


class Optimizers:
    """Both optimizers as one; `step` takes the share of the learning rates."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        matrices, others = split(model)
        self._parameters = matrices + others
        self._clip = recipe.clip
        muon = torch.optim.Muon(
            matrices,
            lr=recipe.matrix_rate,
            momentum=0.95,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        adam = torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self._optimizers = [(muon, recipe.matrix_rate), (adam, recipe.other_rate)]

    def step(self, share: float) -> None:
        """Change the weights by their gradients, and forget these."""
        nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices of the blocks; and embeddings, norms and biases. A tied weight counts once."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = ".h." in name and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    return matrices, others
