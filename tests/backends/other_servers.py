"""Servers of other people, each started by a Python of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import wait_for

MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True, slots=True)
class OtherServer:
    """Where it answers, and its process, which leads a group of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """All of it: vLLM's engine is a process beside that of its address."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(
    variable: str, *arguments: str, folder: Path, name: str = "output", **extra: str
) -> Iterator[OtherServer]:
    """A server started by the Python that the variable names; answers when it is given."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python that has this server")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (folder / name).open("w") as output:
        process = subprocess.Popen(
            [python, "-m", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", **extra},
            start_new_session=True,
        )
    started = OtherServer(url, process)
    try:
        wait_for(lambda: _answers(url, process, folder / name), seconds=240)
        yield started
    finally:
        if process.poll() is None:
            started.kill()


def _answers(url: str, process: subprocess.Popen[bytes], output: Path) -> bool:
    assert process.poll() is None, output.read_text()[-2000:]
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
