"""A watchdog on event loops: how long one step of one of them kept its thread to itself.

Processor time of the thread is what counts, without the collector's, so that a busy machine and
the garbage of other tests do not turn a test red.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

LIMIT = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Held:
    """One step that took long, and what it was."""

    seconds: float
    what: str


class LoopWatch:
    """Watches every loop that does not run in the main thread: those are the servers'."""

    def __init__(self) -> None:
        self.worst = Held(0.0, "nothing")
        self._collecting = threading.local()
        self._run = asyncio.Handle._run

    def install(self) -> None:
        watch = self

        def watched(handle: asyncio.Handle) -> None:
            if threading.current_thread() is threading.main_thread():
                return watch._run(handle)
            begin, collected = time.thread_time(), watch._collected()
            watch._run(handle)
            seconds = time.thread_time() - begin - (watch._collected() - collected)
            if seconds > watch.worst.seconds:
                watch.worst = Held(seconds, _told(handle))

        asyncio.Handle._run = watched  # type: ignore[method-assign,assignment]
        gc.callbacks.append(self._note)

    def reset(self) -> None:
        self.worst = Held(0.0, "nothing")

    def _collected(self) -> float:
        return float(getattr(self._collecting, "seconds", 0.0))

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting.began = time.thread_time()
        else:
            began = getattr(self._collecting, "began", time.thread_time())
            self._collecting.seconds = self._collected() + time.thread_time() - began


def generosity() -> float:
    """From 1 to 4: threads that share a core get a part of its caches and of its time each."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(4.0, max(1.0, load))


def limit() -> float:
    """Seconds for which one step may hold a loop."""
    return LIMIT * generosity()


def _told(handle: asyncio.Handle) -> str:
    """Not repr: it would say the arguments, and take as long again."""
    callback = getattr(handle, "_callback", None)
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        return f"a step of {coroutine.__qualname__}"
    return getattr(callback, "__qualname__", type(callback).__name__)
