"""Asks every live server for /health all the time, while tests of routes run: nobody may wait."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.loop_watch import generosity

LONGEST_WAIT = 0.5  # seconds, whatever is asked beside
_PAUSE = 0.03


@dataclass
class Wait:
    """How long an answer took, or takes so far."""

    seconds: float
    port: int


class HealthWatch:
    """One thread for all servers; it rests unless a test is watched."""

    def __init__(self) -> None:
        self._ports: list[int] = []
        self._watching = threading.Event()
        self._worst = Wait(0.0, 0)
        self._asked: Wait | None = None  # `seconds` is the moment
        threading.Thread(target=self._ask, name="health watch", daemon=True).start()

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
        asked = self._asked
        if asked and asked.port in self._ports:
            self._note(asked)
        return self._worst

    def _ask(self) -> None:
        while True:
            self._watching.wait()
            for port in list(self._ports):
                self._asked = Wait(time.monotonic(), port)
                with suppress(OSError, http.client.HTTPException):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request("GET", "/health", headers={"Connection": "close"})
                    connection.getresponse().read()
                    connection.close()
                asked, self._asked = self._asked, None
                if port in self._ports:
                    self._note(asked)
            time.sleep(_PAUSE)

    def _note(self, asked: Wait) -> None:
        seconds = time.monotonic() - asked.seconds
        if seconds > self._worst.seconds:
            self._worst = Wait(seconds, asked.port)


HEALTH = HealthWatch()


def longest_wait() -> float:
    """Seconds for which anybody may wait for /health."""
    return LONGEST_WAIT * generosity()
