"""The environments of `make clients`, and how a client in one of them is run.

Each section of clients.lock has an environment of its own beside this Python's, and so has
package-lock.json (`node`). A client is kept silent as docs/clients.md says, and cannot leave this
machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.clients.docs import silence
from tests.processes import ROOT, environment
from tests.tools import leave_out

FOLDER = Path(f"{sys.prefix}-clients")
LOOPBACK = Path(__file__).parent / "loopback"


def folder_of(name: str) -> Path:
    """Where an environment lies; leaves the test out if it was not made."""
    found = FOLDER / name
    if not (found / "installed").exists():
        leave_out(f"{found} is not here; make clients puts it there, or says why it cannot")
    return found


def client(name: str, folder: Path, **extra: str) -> dict[str, str]:
    """The variables of a client: the environment's programs come first, its home is `folder`."""
    bin_folder = folder_of(name) / ("bin" if name != "node" else "node_modules/.bin")
    return environment(
        PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        HOME=str(folder),
        PYTHONPATH=f"{LOOPBACK}{os.pathsep}{ROOT}",
        NODE_OPTIONS=f"--require {LOOPBACK / 'loopback.cjs'}",
        ELSEWHERE=str(folder / "elsewhere"),
        **silence(),
        **extra,
    )


def run(
    command: list[str],
    name: str,
    folder: Path,
    asked: Sequence[str] = (),
    **extra: str,
) -> str:
    """What a client prints. Fails if it fails, or would speak to another machine than those."""
    ended = subprocess.run(
        command,
        cwd=folder_of("node") if command[0] == "node" else folder,
        env=client(name, folder, **extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert elsewhere(folder) == set(asked)
    return ended.stdout


def elsewhere(folder: Path) -> set[str]:
    """The other machines that a client asked for."""
    noted = folder / "elsewhere"
    return set(noted.read_text(encoding="utf-8").split()) if noted.exists() else set()
