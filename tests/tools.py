"""Programs that tests drive: a missing one skips its tests, but under CI=true it fails them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[1]

#: Whether every test takes its long form: `make faults`.
FULL = bool(os.environ.get("MINIVAULT_FULL"))


def mostly_slow(names: Iterable[str], *quick: str) -> list[Any]:
    """Parameters that take seconds together: only those that are `quick` are left to test-fast."""
    return [each if each in quick else pytest.param(each, marks=pytest.mark.slow) for each in names]


def tool(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    return found or leave_out(f"{name} is not installed")


def zig() -> list[str]:
    """The compiler of the package index, from here or from where `make zig` puts it.

    It is no part of what tests need, so that none passes for its sake.
    """
    own = ROOT / ".venv" / "zig" / "bin" / "python"
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    return [str(own), "-m", "ziglang", "cc"] if own.exists() else leave_out("no ziglang (make zig)")


def older_processors() -> list[tuple[str, ...]]:
    """The compiler's flags for kinds of x86 processors whose code this one runs, newest first."""
    if os.uname().machine != "x86_64":
        return []
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    levels = {"-v4": {"avx512f", "avx512bw", "avx512vl"}, "-v3": {"avx2", "fma"}, "": set[str]()}
    return [(f"-march=x86-64{level}",) for level, needed in levels.items() if needed <= flags]


def leave_out(what: str) -> NoReturn:
    """Leaves a test out; says why."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI must not skip")
    pytest.skip(what)
