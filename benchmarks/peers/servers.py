"""Starts the server that a contender asks, and ends it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.contenders import Contender
from benchmarks.peers.order import Order
from minivault.bench.process import MeasurementFailed, end, served, server

_PATIENCE = 120.0


@contextmanager
def running(contender: Contender, order: Order, python: Path) -> Iterator[int]:
    """The port of the contender's server; 0 where it has none."""
    if contender.server is None:
        yield 0
    elif contender.server == "minivault":
        options = ("--dtype", order.width, "--threads", str(order.threads))
        with (
            tempfile.TemporaryDirectory() as logs,
            served(Path(order.model), *options, logs=Path(logs)) as process,
        ):
            yield process.port
    elif contender.server == "pipeline":
        module = "benchmarks.peers.pipeline_server"
        with server([sys.executable, "-m", module, json.dumps(order.fields())]) as process:
            yield process.port
    else:
        with _transformers_serve(order, python) as port:
            yield port


@contextmanager
def _transformers_serve(order: Order, python: Path) -> Iterator[int]:
    port = _free_port()
    start = "from transformers.cli.transformers import main; main()"
    command = [str(python), "-c", start, "serve", order.model, "--dtype", order.width]
    command += ["--device", "cpu", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_answer(process, f"http://127.0.0.1:{port}/health")
        yield port
    finally:
        process.terminate()
        end(process)


def _await_answer(process: subprocess.Popen[bytes], address: str) -> None:
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise MeasurementFailed("transformers serve did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
