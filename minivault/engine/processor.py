"""What the machine offers the model: its cores, a GPU, and whether it multiplies bfloat16."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, Windows' for Linux
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def available_cores() -> int:
    """The physical cores that this process may use: within its affinity and its cgroup's quota.

    Two hardware threads of a core count once: matrix products are not faster with both.
    """
    processors: Iterable[int] = range(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):  # only Linux tells it
        processors = os.sched_getaffinity(0)
    # Without a topology each counts as a core of its own.
    cores = len({_read(Path(_TOPOLOGY.format(each))) or str(each) for each in processors})
    # Whole processors' worth of time that the container may use (cgroup v2).
    limit, _, period = _read(_QUOTA).partition(" ")
    return max(1, min(cores, int(limit) // int(period))) if limit.isdigit() else cores


def shows_gpu() -> bool:
    """Whether the system shows one that torch may compute on: it takes a second to ask torch."""
    if sys.platform == "linux":
        return any(Path(each).exists() for each in _GPUS)
    return sys.platform != "darwin"


def multiplies_bfloat16() -> bool:
    """Whether products of bfloat16 are done in hardware; elsewhere they are slower than float32."""
    import torch

    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
