"""The recipe: every number of a training, with the storyteller's own as defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _number(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, on how much, and how fast. A training ends at `minutes` or `steps`."""

    minutes: float = _number(96.0, "Minutes to train.")
    steps: int = _number(0, "Steps to train; 0: until the time is over.")
    seed: int = _number(0, "Seed of weights, crops and the choice of held-out chapters.")
    vocabulary: int = _number(8192, "Entries of the tokenizer.")
    layers: int = _number(6, "Blocks of the model.")
    width: int = _number(256, "Width of the model.")
    heads: int = _number(4, "Attention heads of a block.")
    context: int = _number(512, "Tokens that the model sees at once.")
    short_context: int = _number(256, "Length of the crops in the first part, which is faster.")
    short_share: float = _number(0.7, "Share of the training that is the first part.")
    batch_tokens: int = _number(8192, "Tokens of one step.")
    matrix_rate: float = _number(0.004, "Learning rate of the matrices of the blocks (Muon).")
    other_rate: float = _number(0.003, "Learning rate of everything else (AdamW).")
    weight_decay: float = _number(0.01, "Weight decay of the matrices.")
    warmup_steps: int = _number(100, "Steps until the full learning rate.")
    constant_share: float = _number(0.45, "Share of the training with the full learning rate.")
    final_rate: float = _number(0.02, "Share of the learning rate that is left at the end.")
    clip: float = _number(1.0, "Largest norm of the gradient.")
    held_out: float = _number(0.011, "Share of the chapters that is kept to measure with.")
    report_every: int = _number(100, "Steps between two lines of report.")

    def crop_length(self, progress: float) -> int:
        """Tokens of a crop when this share of the training is over."""
        return self.short_context if progress < self.short_share else self.context

    def rate(self, step: int, progress: float) -> float:
        """The share of the learning rates at a step: up, flat, down in a straight line."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        falling = max(0.0, progress - self.constant_share) / (1 - self.constant_share)
        return warm * (1 - (1 - self.final_rate) * min(1.0, falling))
