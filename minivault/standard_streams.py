"""The standard streams: always there, able to take any text, and never in the server's way."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, TextIO

#: Bytes that may wait for a reader of one stream; a hundred thousand lines or so.
_WAITING = 2**22

#: Seconds that the end of the process waits for such a reader.
_PATIENCE = 0.5

_lost_lines = 0


def open_missing() -> None:
    """Opens those that the process was started without (`>&-`) on the null device.

    Otherwise the next socket or file becomes number 0, 1 or 2, and gets what others print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def escape_what_does_not_fit() -> None:
    """Lets a stream that is not UTF-8 show what it has no character for as `\\u2026`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def lost_lines() -> int:
    """How many lines were left out since the start, because nobody read the stream."""
    return _lost_lines


@contextlib.contextmanager
def never_waiting() -> Iterator[None]:
    """Whoever prints goes on at once, even if nobody reads (`| less`, a paused terminal).

    At the end what waits is written if somebody reads it soon, else left out.
    """
    before = sys.stdout, sys.stderr
    outlets: list[Any] = []
    for stream in before:
        try:
            outlets.append(Outlet(stream))
        except (OSError, ValueError):  # it is no file: somebody catches what is printed
            outlets.append(stream)
    sys.stdout, sys.stderr = outlets
    try:
        yield
    finally:
        deadline = time.monotonic() + _PATIENCE
        for outlet in outlets:
            outlet.flush()
        if all(not isinstance(each, Outlet) or each.written(deadline) for each in outlets):
            sys.stdout, sys.stderr = before


class Outlet(io.TextIOBase):
    """Takes lines without ever waiting; a thread of its own writes them.

    Lines beyond `waiting` bytes are left out and counted, and that is said in their place.
    """

    def __init__(self, stream: TextIO, *, waiting: int = _WAITING) -> None:
        self._file = stream.fileno()
        self._stream = stream
        self._limit = waiting
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._begun = ""
        self._lost = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="terminal", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def fileno(self) -> int:
        return self._file

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._changed:
            whole, newline, self._begun = (self._begun + text).rpartition("\n")
            if newline:
                self._put(whole + newline)
        return len(text)

    def flush(self) -> None:
        """Hands on what has no newline yet; never waits."""
        with self._changed:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def written(self, deadline: float) -> bool:
        """Whether all was written before this moment of the monotonic clock."""
        with self._changed:
            left = deadline - time.monotonic()
            return self._changed.wait_for(lambda: not self._waiting, max(0.0, left))

    def _put(self, text: str) -> None:
        global _lost_lines
        data = text.encode(self.encoding, "backslashreplace")
        if self._waiting + len(data) > self._limit:
            lines = max(1, data.count(b"\n"))
            self._lost += lines
            _lost_lines += lines
            return
        if self._lost:
            left_out, self._lost = self._lost, 0
            data = b"warning: %d lines were left out here: nobody read them\n" % left_out + data
        self._lines.append(data)
        self._waiting += len(data)
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                data = self._lines.popleft()
            self._write(data)
            with self._changed:
                self._waiting -= len(data)
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except BlockingIOError:  # whoever shares it with us has set it so
                select.select([], [self._file], [])
            except OSError:  # nobody can be told: it is what one would be told by
                return
