"""How fast this machine reads memory: the limit of every decoded step."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BYTES = 256 * 2**20  # far beyond every cache


def read_bandwidth(threads: int, *, seconds: float = 1.0, size: int = _BYTES) -> float:
    """Bytes per second that `threads` threads read together; the best of many passes."""
    parts = np.array_split(np.ones(size // 4, dtype=np.float32), threads)
    best = float("inf")
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() < end:
            begin = time.perf_counter()
            list(pool.map(_read, parts))
            best = min(best, time.perf_counter() - begin)
    return size / best


def _read(part: np.ndarray) -> float:
    """A scalar product with itself reads every number once; numpy does it outside Python's lock."""
    return float(np.dot(part, part))
