"""The writer's inbox: begins and ends that wait for the next write, from any thread."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from minivault.schemas import Receipt
from minivault.vault.journal import Entry


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that waits to be accepted."""

    entry: Entry
    future: Future[Entry]


@dataclass(frozen=True, slots=True)
class Ended:
    """A record that waits to be written: its fields, and its line as far as it is known."""

    entry: Entry
    fields: dict[str, Any]
    body: bytes
    future: Future[Receipt]


class _Stop:
    """Tells the writer that nothing comes after it."""


class Inbox:
    """Many put, one takes."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Begun | Ended | _Stop] = queue.SimpleQueue()
        self._gate = threading.Lock()  # nothing is queued behind the stop
        self._is_closed = False

    def put(self, job: Begun | Ended) -> bool:
        """Returns False once the inbox is closed: nobody will take it any more."""
        with self._gate:
            if not self._is_closed:
                self._queue.put(job)
            return not self._is_closed

    def close(self) -> bool:
        """Returns False if it was closed already."""
        with self._gate:
            if self._is_closed:
                return False
            self._is_closed = True
            self._queue.put(_Stop())
            return True

    def take(self, timeout: float) -> tuple[list[Begun], list[Ended], bool]:
        """All that waits, after at most `timeout` seconds; the flag turns False at the end."""
        begun: list[Begun] = []
        ended: list[Ended] = []
        try:
            job = self._queue.get(timeout=timeout)
            while True:
                match job:
                    case Begun():
                        begun.append(job)
                    case Ended():
                        ended.append(job)
                    case _Stop():
                        return begun, ended, False
                job = self._queue.get_nowait()
        except queue.Empty:
            return begun, ended, True
