"""Long reads: the log from end to end, foreign weights. In threads of their own, never in the loop.

Who asks for what is being read already shares it; what nobody waits for any more ends; and while
texts are being made a read takes a quarter of the time, so that it waits behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from minivault.background import be_nice, carried
from minivault.errors import Unavailable

AT_ONCE = 2
MOST_WAITING = 32
STRETCH = 0.005  # seconds of work between two looks whether somebody else needs the time
REST = 3  # times as long as the work before, while texts are being made

T = TypeVar("T")


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Turn:
    """What a long read calls now and then: tells how far it is, rests, ends it if nobody waits."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self.total = 0
        self.done = 0
        self._busy = busy
        self._began = time.monotonic()
        self._abandoned = threading.Event()

    def __call__(self, amount: int = 0) -> None:
        """Called in the reading thread, with how much was read since. Raises Abandoned."""
        self.done += amount
        if self._abandoned.is_set():
            raise Abandoned
        worked = time.monotonic() - self._began
        if worked > STRETCH:
            if self._busy():
                self._abandoned.wait(min(worked, 10 * STRETCH) * REST)
            self._began = time.monotonic()

    def abandon(self) -> None:
        self._abandoned.set()

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned.is_set()


class Reading(Generic[T]):
    """One long read, for everybody who waits for it."""

    def __init__(self, turn: Turn, future: Future[T]) -> None:
        self.turn = turn
        self._future = future
        self._askers = 0

    async def result(self) -> T:
        """What was read, or what went wrong; the read ends when its last asker is cancelled."""
        self._askers += 1
        found = asyncio.wrap_future(self._future)
        # What an asker that left does not hear is nobody's to complain of.
        found.add_done_callback(lambda left: left.cancelled() or left.exception())
        try:
            return await asyncio.shield(found)
        finally:
            self._askers -= 1
            if not self._askers:
                self.end()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was given up by everybody."""
        return self.turn.is_abandoned or self._future.done()

    def end(self) -> None:
        self.turn.abandon()
        self._future.cancel()


class ReadingRoom:
    """A few threads for all long reads of a server. Event loop only."""

    def __init__(self, busy: Callable[[], bool] = lambda: False) -> None:
        """`busy`: whether texts are being made; called in the reading threads."""
        self._busy = busy
        self._threads = ThreadPoolExecutor(AT_ONCE, "reading", initializer=be_nice)
        self._under_way: dict[Hashable, Reading[Any]] = {}

    def begin(self, what: Callable[[Turn], T], *, key: Hashable = None) -> Reading[T]:
        """Begins to read, or joins what is being read under this key.

        Raises Unavailable if too many wait.
        """
        known = self._under_way.get(key) if key is not None else None
        if known and not known.is_over:
            return known
        if len(self._under_way) >= AT_ONCE + MOST_WAITING:
            raise Unavailable("too much is being read at once; come again in a moment")
        turn = Turn(self._busy)
        future = self._threads.submit(carried, partial(what, turn))
        reading = Reading(turn, future)
        name = object() if key is None else key
        self._under_way[name] = reading
        loop = asyncio.get_running_loop()

        def forget() -> None:
            if self._under_way.get(name) is reading:
                del self._under_way[name]

        def over(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(forget)

        future.add_done_callback(over)
        return reading

    async def read(self, what: Callable[[Turn], T], *, key: Hashable = None) -> T:
        """The result of `begin`."""
        return await self.begin(what, key=key).result()

    def close(self) -> None:
        """Ends whatever is being read; nothing can be begun any more."""
        for reading in self._under_way.values():
            reading.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
