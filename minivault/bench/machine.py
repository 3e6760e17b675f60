"""What this machine is, in the words that a reader of figures needs."""

from __future__ import annotations

import contextlib
import datetime
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minivault.engine.processor import available_cores

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16")
_LIBRARIES = ("torch", "transformers", "numpy")


def describe() -> dict[str, Any]:
    """Processor, cores, the flags that matter, memory, versions and the date."""
    lines = _processor_lines()
    flags = set((lines.get("flags") or lines.get("Features") or "").split())
    memory = None
    with contextlib.suppress(OSError):
        first = Path("/proc/meminfo").read_text(encoding="ascii").split(maxsplit=2)[1]
        memory = round(int(first) * 1024 / 1e9)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(lines),
        "cores": available_cores(),
        "flags": [each for each in _FLAGS if each in flags],
        "memory_gb": memory,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: found for name in _LIBRARIES if (found := _installed(name))},
    }


def sentence(machine: dict[str, Any]) -> str:
    """The description in one line."""
    flags = " ".join(machine["flags"]) or "no flags known"
    libraries = ", ".join(f"{name} {machine[name]}" for name in _LIBRARIES if name in machine)
    return (
        f"{machine['processor']}, {machine['cores']} cores ({flags}), {machine['memory_gb']} GB; "
        f"{machine['system']}, Python {machine['python']}, {libraries}; {machine['date']}"
    )


def _processor_lines() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _processor(lines: dict[str, str]) -> str:
    name = lines.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in lines:
        return f"{name} (family {lines['cpu family']}, model {lines['model']})"
    return name


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
