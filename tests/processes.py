"""Real processes: `minivault serve` on a free port, and every other command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything that configures MiniVault."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIVAULT_")}
    kept.pop("WEB_CONCURRENCY", None)
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "100", **extra}


def minivault(
    *arguments: str, cwd: Path, input: str | None = None, timeout: float = 180, **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "minivault", *arguments],
        cwd=cwd,
        env=environment(**env),
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@dataclass
class Served:
    """A running server. `output` grows with what it prints; `errors` is what it wrote to stderr."""

    process: subprocess.Popen[str]
    folder: Path
    output: list[str]
    url: str = ""

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.url)[0])

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    @property
    def complaints(self) -> list[str]:
        """What it wrote to stderr besides one line for each request and each generation."""
        request = re.compile(r"\d\d:\d\d ([A-Z]+ \S* (\d{3}|-) |(line \d+|no line)  \d+ token)")
        return [line for line in self.errors.splitlines() if not request.match(line)]

    def wait_for(self, word: str) -> str:
        """Reads lines up to the one that begins with `word`, and returns the rest of that one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"the server ended without {word!r}: {self.output} {self.errors}")

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60) -> int:
        """Sends a signal and returns the exit code; negative if a signal ended the process."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def connect(self, request: str = "", *, receive_buffer: int | None = None) -> socket.socket:
        """A connection over which these lines went already."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(request.encode())
        return connection

    def post(self, accept: str = "text/event-stream", **body: Any) -> socket.socket:
        """A connection that has asked for a generation."""
        data = json.dumps(body)
        return self.connect(
            f"POST /generate HTTP/1.1\r\nHost: localhost:{self.port}\r\nAccept: {accept}\r\n"
            f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n{data}"
        )

    def records(self) -> list[dict[str, Any]]:
        """Those whose lines are there as a whole: the last may be on its way to the file."""
        lines = (self.folder / "logs" / "log.jsonl").read_text(encoding="ascii").split("\n")[:-1]
        return [json.loads(line) for line in lines]


def _limited(files: int | None) -> list[str]:
    """What to put before a command that may have only so many files open."""
    return ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"] if files else []


@contextmanager
def serving(
    folder: Path,
    *options: str,
    ready: bool = True,
    patience: float = 600,
    files: int | None = None,
    **env: str,
) -> Iterator[Served]:
    """A server with the echo backend, unless the options say otherwise; killed at the end.

    `files`: how many it may have open.

    Its working directory is `folder`, so its log is in `folder/logs`. It lives for at most
    `patience` seconds.
    """
    arguments = list(options)
    if "--backend" not in arguments and "--model" not in arguments:
        arguments += ["--backend", "echo"]
    with (folder / "stderr").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [
                *_limited(files),
                sys.executable,
                "-m",
                "minivault",
                "serve",
                "--port",
                "0",
                *arguments,
            ],
            cwd=folder,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    too_long = threading.Timer(patience, _give_up, (process, patience))
    too_long.start()
    try:
        served = Served(process, folder, [])
        served.url = served.wait_for("open")
        served.wait_for("ready" if ready else "stop")
        yield served
    finally:
        too_long.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _give_up(process: subprocess.Popen[str], patience: float) -> None:
    print(f"the server is killed: it has lived for {patience:g} seconds")  # shown if a test fails
    process.kill()


def read_until(connection: socket.socket, word: bytes) -> bytes:
    """What comes up to and with `word`; fails if the server hangs up before it."""
    received = b""
    while word not in received:
        chunk = connection.recv(65536)
        assert chunk, f"hung up before {word!r}: {received[-500:]!r}"
        received += chunk
    return received


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))
