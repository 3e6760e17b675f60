"""The environments of `make clients`, and how a client in one of them is run.

Each section of clients.lock has an environment of its own beside this Python's, and so has
package-lock.json (`node`). A client is kept silent as docs/clients.md says, and cannot leave this
machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, environment
from tests.tools import leave_out

DOCS = ROOT / "docs" / "clients.md"
FOLDER = Path(f"{sys.prefix}-clients")
LOOPBACK = Path(__file__).parent / "loopback"


def folder_of(name: str) -> Path:
    """Where an environment lies; leaves the test out if it was not made."""
    found = FOLDER / name
    return found if found.exists() else leave_out(f"{found} is not here: make clients")


def silence() -> dict[str, str]:
    """The variables by which a reader of the docs keeps clients silent."""
    block = re.search(r"## Kept silent\n.*?```sh\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert block, "docs/clients.md does not say how clients are kept silent"
    return dict(re.findall(r"(\w+)=(\S*)", block[1]))


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


def run(command: list[str], name: str, folder: Path, input: str, **extra: str) -> str:
    """What a client prints. Fails if it fails, or would speak to another machine."""
    ended = subprocess.run(
        command,
        cwd=folder_of("node") if name == "node" else folder,
        env=client(name, folder, **extra),
        input=input,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert_stayed_here(folder)
    return ended.stdout


def assert_stayed_here(folder: Path) -> None:
    """Fails with the names of other machines that a client asked for."""
    noted = folder / "elsewhere"
    assert not noted.exists(), sorted(set(noted.read_text(encoding="utf-8").split()))
