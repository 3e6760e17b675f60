"""A terminal that is filmed: a real bash, and what it has said."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
import time
from pathlib import Path

_STEERING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x07")
_DEADLINE = 300.0  # seconds for what a command is to say; a loaded machine loads slowly


class Terminal:
    """A bash in a pseudo-terminal, in `folder`, where `minivault` is this checkout's."""

    def __init__(self, folder: Path, *, columns: int) -> None:
        self._said = ""
        (folder / "bin").mkdir()
        command = folder / "bin" / "minivault"
        # Not by exec: the server can be stopped for a moment, and the shell sees a job that runs.
        command.write_text(f'#!/bin/sh\n"{sys.executable}" -m minivault "$@"\n')
        command.chmod(0o755)
        environment = os.environ | {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PS1": "$ ",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "HISTFILE": "",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        self._process, self._descriptor = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], environment)
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, size)
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait_for("$ ")

    @property
    def said(self) -> str:
        """What stands in it."""
        return self._said

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, text: str, *, after: int = 0) -> None:
        """Until a text stands in it, behind so many characters. Raises TimeoutError."""
        end = time.monotonic() + _DEADLINE
        while text not in self._said[after:]:
            if time.monotonic() > end:
                raise TimeoutError(f"the terminal does not say {text!r}: {self._said[-400:]}")
            time.sleep(0.02)

    def rest(self) -> None:
        """Stops what runs in it, where it is, until `go_on`; the shell does not notice."""
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        self._tell(signal.SIGCONT)

    def close(self) -> None:
        """Ends the shell and what runs in it."""
        self.go_on()
        self._tell(signal.SIGTERM)
        self.type("wait; exit\n")
        os.waitpid(self._process, 0)
        os.close(self._descriptor)

    def _tell(self, what: signal.Signals) -> None:
        for job in _children(self._process):
            for process in _children(job):
                os.kill(process, what)

    def _listen(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while part := os.read(self._descriptor, 4096):
                self._said += _STEERING.sub("", decoder.decode(part)).replace("\r", "")
        except OSError:
            pass  # the shell has ended


def _children(process: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]
