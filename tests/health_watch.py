"""Asks every live server for /health all the time, while tests of routes run: nobody may wait.

A wait counts as long as this process was given time for it, so that a busy machine turns no test
red: what its threads computed meanwhile, or how often another one got its turn, whichever is more.
"""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass

from tests.loop_watch import generosity

LONGEST_WAIT = 0.5  # seconds, whatever is asked beside
_PAUSE = 0.03
_BEAT = 0.01


@dataclass
class Wait:
    """How long an answer took."""

    seconds: float
    port: int


@dataclass
class _Asked:
    """A question that is under way: when it was asked, by each of the clocks."""

    port: int
    wall: float
    computed: float
    beats: int


class HealthWatch:
    """One thread for all servers; it rests unless a test is watched."""

    def __init__(self) -> None:
        self._ports: list[int] = []
        self._watching = threading.Event()
        self._worst = Wait(0.0, 0)
        self._asked: _Asked | None = None
        self._beats = 0
        threading.Thread(target=self._ask, name="health watch", daemon=True).start()
        threading.Thread(target=self._beat, name="health watch's beat", daemon=True).start()

    def began(self, port: int) -> None:
        """A server is up."""
        self._ports.append(port)

    def ends(self, port: int) -> None:
        """A server is going down, and need not answer any more."""
        with suppress(ValueError):
            self._ports.remove(port)

    def begin(self) -> None:
        """Watches from now on."""
        self._worst = Wait(0.0, 0)
        self._watching.set()

    def end(self) -> Wait:
        """Watches no longer; returns the worst wait."""
        self._watching.clear()
        return self.worst()

    def worst(self) -> Wait:
        """The worst wait so far."""
        asked = self._asked
        if asked and asked.port in self._ports:
            self._note(asked)
        return self._worst

    def _beat(self) -> None:
        while True:
            self._watching.wait()
            time.sleep(_BEAT)
            self._beats += 1

    def _ask(self) -> None:
        while True:
            self._watching.wait()
            for port in list(self._ports):
                asked = _Asked(port, time.monotonic(), time.process_time(), self._beats)
                self._asked = asked
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with closing(connection), suppress(OSError, http.client.HTTPException):
                    connection.request("GET", "/health", headers={"Connection": "close"})
                    connection.getresponse().read()
                self._asked = None
                if port in self._ports:
                    self._note(asked)
            time.sleep(_PAUSE)

    def _note(self, asked: _Asked) -> None:
        computed = time.process_time() - asked.computed
        given = max(computed, (self._beats - asked.beats) * _BEAT)
        seconds = min(given, time.monotonic() - asked.wall)
        if seconds > self._worst.seconds:
            self._worst = Wait(seconds, asked.port)


HEALTH = HealthWatch()


def longest_wait() -> float:
    """Seconds for which anybody may wait for /health."""
    return LONGEST_WAIT * generosity()
