"""Who does a GPT-2's arithmetic: the C files where they can, torch everywhere else."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from minivault.engine.native.compiler import CannotCompile
from minivault.engine.native.packing import Width
from minivault.engine.runners.base import Kernels
from minivault.engine.runners.gpt2_files import Gpt2Shape, read_weights
from minivault.engine.runners.gpt2_native import NativeGpt2
from minivault.engine.runners.gpt2_torch import TorchGpt2
from minivault.engine.runners.linear import Kind
from minivault.engine.runners.pipeline import chosen_dtype
from minivault.engine.runners.rows import Rows
from minivault.errors import ModelUnusable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What a model is made from, and how. Raises ModelUnusable for what cannot be."""

    folder: Path
    shape: Gpt2Shape
    width: Width
    device: torch.device
    threads: int
    slots: int
    kernels: Kernels

    def __post_init__(self) -> None:
        if self.device.type == "cpu":
            return
        if self.width == "int8":
            raise ModelUnusable("dtype int8 is for the CPU; use auto, float32 or bfloat16")
        if self.kernels == "native":
            raise ModelUnusable("kernels native are for the CPU; use auto, or --device cpu")

    def native(self, target: tuple[str, ...] | None = None) -> NativeGpt2 | None:
        """None where C files are not wanted, cannot be, or do not keep the bits.

        Those that were asked for by name must be: ModelUnusable says why they cannot.
        """
        if self.kernels == "torch" or self.device.type != "cpu":
            return None
        try:
            model = self._native(target)
        except CannotCompile as error:
            if self.kernels == "native":
                raise ModelUnusable(f"kernels native: {error}; mend that, or use auto") from error
            _log.warning("%s; torch's own operators are used, which are slower", error)
            return None
        if model.reproducible or self.kernels == "native":
            return model
        _log.warning(
            "the C files do not keep a row's bits on this processor; torch's operators are used"
        )
        return None

    def torch(self, kind: Kind | None, rows: Rows | None) -> TorchGpt2:
        """`kind`, `rows`: chosen by hand, for tests; else what is fast, and what keeps the bits."""
        plain: Kind = "packed" if self.device.type == "cpu" else "plain"
        return TorchGpt2(
            self.shape,
            read_weights(self.folder, self.shape),
            kind=kind or ("int8" if self.width == "int8" else plain),
            dtype=torch.bfloat16 if self.width == "bfloat16" else torch.float32,
            device=self.device,
            slots=self.slots,
            rows=rows,
        )

    def _native(self, target: tuple[str, ...] | None) -> NativeGpt2:
        return NativeGpt2(
            self.shape,
            read_weights(self.folder, self.shape),
            width=self.width,
            threads=self.threads,
            slots=self.slots,
            target=target,
        )


def chosen_width(dtype: str, device: torch.device) -> Width:
    """The numbers that weights are kept as, of what an option says."""
    if dtype == "int8":
        return "int8"
    return "bfloat16" if chosen_dtype(dtype, device) == torch.bfloat16 else "float32"
