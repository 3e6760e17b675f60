"""Processes that measure: a module run with an order, and a server that is there for a while."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.errors import MiniVaultError

_PATIENCE = 120.0  # seconds for a model to load
_OPEN = re.compile(r"^open +http://[^/]+:(\d+)/")
_READY = re.compile(r"^ready\b")


class MeasurementFailed(MiniVaultError):
    """A process that was to measure ended without its figures."""

    title = "Measurement failed"


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that is ready: its process id, its port, and the seconds from start to ready."""

    pid: int
    port: int
    seconds: float


def run_module(
    module: str, order: dict[str, Any], *, python: str = sys.executable
) -> Iterator[dict[str, Any]]:
    """Runs `python -m module ORDER` and gives the JSON objects that it prints, as they come.

    Whatever it started ends with it: some engines leave processes that hold gigabytes.
    """
    command = [python, "-m", module, json.dumps(order)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in process.stdout:
            yield json.loads(line)
        complaint = process.stderr.read().strip()
        process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        end(process)
    if process.returncode:
        raise MeasurementFailed(f"{module}: {complaint.splitlines()[-1] if complaint else ''}")


@contextmanager
def served(folder: Path, *options: str, logs: Path) -> Iterator[ServerProcess]:
    """`minivault serve` with this model on a free port, until the block ends."""
    command = [sys.executable, "-m", "minivault", "serve", "--port", "0", "--offline"]
    command += ["--model", str(folder), "--logs-dir", str(logs), *options]
    with server(command) as process:
        yield process


@contextmanager
def server(command: list[str]) -> Iterator[ServerProcess]:
    """A server that tells its address and when it is ready, as MiniVault's does."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert process.stdout is not None
    # Whatever it says later is read, or it would stand still when the pipe is full.
    reading = threading.Thread(target=process.stdout.read)
    try:
        found = ServerProcess(process.pid, _await_ready(process), time.perf_counter() - begin)
        reading.start()
        yield found
    finally:
        process.terminate()
        _wait(process)
        if reading.is_alive():
            reading.join()
        process.stdout.close()


def _await_ready(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    said, port = [], 0
    giving_up = threading.Timer(_PATIENCE, process.kill)
    giving_up.start()
    try:
        for line in process.stdout:
            said.append(line.strip())
            if found := _OPEN.match(line):
                port = int(found[1])
            if _READY.match(line):
                return port
    finally:
        giving_up.cancel()
    raise MeasurementFailed(f"the server did not start: {said[-1] if said else 'it said nothing'}")


def end(process: subprocess.Popen[Any]) -> None:
    """Waits for a process that ends or was told to; after a while it is killed."""
    _wait(process)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _wait(process: subprocess.Popen[Any]) -> None:
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
