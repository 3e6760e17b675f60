"""A real fleet: `minivault cluster up` with Ray Serve and HAProxy, and what can be done to it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.promises import records
from tests.processes import environment, minivault

PATIENCE = 240.0  # seconds for Ray to start, and for a replica to come back
_UNSAID = 15.0  # seconds: five of the fleet's looks
_NAP = 0.1


@dataclass
class Fleet:
    """A running fleet; `output` grows with what it prints."""

    process: subprocess.Popen[str]
    folder: Path
    output: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.output.append(line.rstrip())
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """The first line, of those after so many, that this is found in."""
        end = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for line in self.output[after:]:
                    if found := re.search(pattern, line):
                        return found
                left = end - time.monotonic()
                assert left > 0, f"no line {pattern!r}: {self.output}"
                assert self.process.poll() is None, f"it ended: {self.output}"
                self.changed.wait(min(left, 1))

    @property
    def port(self) -> int:
        return int(self.wait_for(r"^open .*:(\d+)/")[1])

    @property
    def scratch(self) -> Path:
        """Where Ray has its logs and sockets."""
        return Path(self.wait_for(r"Ray's logs: (.*)$")[1])

    def replicas(self) -> list[int]:
        """The process ids of those that are there, ready or not."""
        return [pid for pid, name in self._processes() if name.startswith("ray::ServeReplica")]

    def rest(self) -> list[int]:
        """Everything that Ray has started."""
        return [pid for pid, _ in self._processes()]

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Those whose environment has this fleet's folder."""
        mark = f"RAY_SERVE_HAPROXY_CONFIG_FILE_LOC={self.scratch}/".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    name = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    yield int(process.name), name.decode(errors="replace")

    def kill(self, count: int) -> None:
        """kill -9 of so many replicas, and returns when as many serve again."""
        said = len(self.output)
        before = self.replicas()
        for pid in before[:count]:
            os.kill(pid, signal.SIGKILL)
        self.back(before[:count], len(before), said)

    def back(self, killed: Sequence[int], wanted: int, said: int) -> None:
        """Returns when as many serve again, or as many have been there for a while and nothing is
        said: a replica can be replaced between two of the fleet's looks.
        """
        # Naps are counted and no clock is read: whoever stops all of it for a while stops this too.
        unsaid = 0.0
        for _ in range(round(PATIENCE / _NAP)):
            with self.changed:
                lines = self.output[said:]
            there = self.replicas()
            whole = len(there) >= wanted and not set(there) & set(killed)
            if f"replicas {wanted} serve" in lines and whole:
                return
            unsaid = unsaid + _NAP if whole and not lines else 0.0
            if unsaid > _UNSAID:
                return
            time.sleep(_NAP)
        raise AssertionError(f"not {wanted} replicas again: {self.output}")

    def stop(self, timeout: float = 60) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)

    def records(self) -> list[Any]:
        return records(self.folder / "logs")

    def verify(self) -> None:
        ended = minivault("logs", "verify", cwd=self.folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@contextmanager
def fleet(
    folder: Path, *options: str, ready: bool = True, patience: float = 600, **env: str
) -> Iterator[Fleet]:
    """Two replicas, unless the options say otherwise; ended with all that it started."""
    command = [sys.executable, "-m", "minivault", "cluster", "up", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    started = Fleet(process, folder)
    listening = threading.Thread(target=started.listen)
    listening.start()
    too_long = threading.Timer(patience, process.kill)
    too_long.start()
    try:
        started.wait_for(r"^replicas \d+ serve" if ready else "^stop")
        yield started
    finally:
        too_long.cancel()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listening.join()
        process.stdout.close()
        print("\n".join(started.output))  # shown where a test fails


def echo_text(prompt: str, seed: int, tokens: int) -> str:
    """What the echo backend says."""
    words = [f" {word}" for word in prompt.split()]
    start = random.Random(seed).randrange(len(words))
    return "".join(words[(start + step) % len(words)] for step in range(tokens))
