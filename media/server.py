"""A MiniVault for the time that a picture takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(model: str, folder: Path) -> Iterator[str]:
    """Its address. The log lies in `folder`; the server ends with the block."""
    command = [sys.executable, "-m", "minivault", "serve", "--model", model, "--offline"]
    command += ["--port", "0", "--logs-dir", str(folder / f"logs-{model}")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout:
            process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    """Reads until the server is ready."""
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        word, _, rest = line.partition(" ")
        if word == "open":
            address = rest.strip().rstrip("/")
        if word == "ready":
            return address
    raise RuntimeError("the server ended before it was ready")
