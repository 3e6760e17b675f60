"""Which runner serves a model: the fast one that knows its family, else the one that knows all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from minivault.engine.runners.base import Kernels, Runner, Unsupported

Dtype = Literal["auto", "float32", "bfloat16", "int8"]
Device = Literal["auto", "cpu", "cuda"]


def load_runner(
    folder: Path,
    *,
    dtype: Dtype = "auto",
    device: Device = "auto",
    threads: int | None = None,
    kernels: Kernels = "auto",
    max_running: int = 32,
    prefix_memory: int = 0,
) -> Runner:
    """Loads a model's weights. Takes the calling thread as long as it takes.

    `threads`: of the model; None leaves torch's choice. `max_running`: how many sequences it may
    hold at once. `prefix_memory`: bytes for prefilled beginnings that are kept. Raises
    ModelUnusable.
    """
    from minivault.engine.memory import give_back_free
    from minivault.engine.runners.gpt2 import Gpt2Runner

    try:
        return Gpt2Runner(
            folder,
            dtype=dtype,
            device=device,
            threads=threads,
            kernels=kernels,
            max_running=max_running,
            prefix_memory=prefix_memory,
        )
    except Unsupported:
        from minivault.engine.runners.any import AnyRunner

        return AnyRunner(folder, dtype=dtype, device=device, threads=threads)
    finally:  # the weights as the files hold them, and what was made on the way
        give_back_free()
