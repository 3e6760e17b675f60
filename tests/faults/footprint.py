"""What a process holds, as Linux tells it (proc(5)): open files, threads, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Footprint:
    """At one moment. `resident` is in bytes."""

    files: int
    threads: int
    resident: int


def footprint(pid: int) -> Footprint:
    """Raises OSError once the process is gone."""
    place = Path(f"/proc/{pid}")
    status = (place / "status").read_text()
    return Footprint(
        files=len(list((place / "fd").iterdir())),
        threads=_number(status, "Threads"),
        resident=_number(status, "VmRSS") * 1024,
    )


def _number(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found, f"no {name} in {status}"
    return int(found[1])
