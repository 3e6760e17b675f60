"""How much memory a process holds."""

from __future__ import annotations

import subprocess
from pathlib import Path


def resident_memory(process: int) -> int:
    """Bytes of memory that a process holds now. Raises OSError if it is not there."""
    return _status(process, "VmRSS") if Path("/proc/self").exists() else _asked(process)


def peak_memory(process: int) -> int:
    """Bytes of memory that a process held at most so far. Linux; raises OSError elsewhere."""
    return _status(process, "VmHWM")


def _status(process: int, name: str) -> int:
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        raise ProcessLookupError(f"no process {process}")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024


def _asked(process: int) -> int:
    """Where there is no /proc, as on macOS."""
    command = ["ps", "-o", "rss=", "-p", str(process)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not answer:
        raise ProcessLookupError(f"no process {process}")
    return int(answer) * 1024
