"""What the machine offers the model: its cores, a GPU, and whether it multiplies bfloat16."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, Windows' for Linux
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def available_cores() -> int:
    """The physical cores that this process may use: within its affinity and its cgroup's quota.

    Two hardware threads of a core count once: matrix products are not faster with both.
    """
    cores, quota = _cores(_allowed_processors()), _quota()
    return cores if quota is None else max(1, min(cores, quota))


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


def _allowed_processors() -> list[int]:
    """The numbers of the logical processors; only Linux tells the affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cores(processors: list[int]) -> int:
    """How many cores they belong to; without a topology each counts as one."""
    return len({_read(Path(_TOPOLOGY.format(each))) or str(each) for each in processors})


def _quota() -> int | None:
    """Whole processors' worth of time that the container may use (cgroup v2), if it has a limit."""
    limit, _, period = _read(_QUOTA).partition(" ")
    return int(limit) // int(period) if limit.isdigit() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
