"""Work in the background: whatever ends it, whoever waits for it is told.

Three kinds of ends get lost on their way to a future: what is thrown past `except Exception`
(extensions can raise such), StopIteration, which no future of asyncio takes, and a cancellation
that nobody asked for. SystemExit takes the event loop along. Here they all become `Unforeseen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Thread, get_native_id
from typing import Any, ParamSpec, TypeVar

from minivault.errors import MiniVaultError
from minivault.trace import trace

logger = logging.getLogger("minivault")

_NICENESS = 10

P = ParamSpec("P")
T = TypeVar("T")


class Unforeseen(RuntimeError):
    """Stands for something raised that is no ordinary exception; that one is its cause."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.kind = type(error).__name__


def kind(error: BaseException) -> str:
    """The name of an error's type."""
    return error.kind if isinstance(error, Unforeseen) else type(error).__name__


def describe(error: BaseException) -> str:
    """An error's type and words. They may quote a prompt, if it knew one."""
    return f"{kind(error)}: {error}" if str(error) else kind(error)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function in a thread of the pool. Raises what it raises, always as an Exception."""
    return await asyncio.to_thread(carried, partial(function, *args, **kwargs))


class Pool:
    """A few threads for one kind of work: no other kind keeps it waiting, nor does it others."""

    def __init__(self, name: str, threads: int, *, nice: bool = False) -> None:
        """`nice`: the work waits behind what has no thread like this (on Linux)."""
        self._threads = ThreadPoolExecutor(threads, name, initializer=be_nice if nice else None)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `in_thread`, which has one pool for all that nobody's text waits for."""
        return await asyncio.wrap_future(self.submit(partial(function, *args, **kwargs)))

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """The future has what `work` returns or raises, as an Exception. Any thread."""
        return self._threads.submit(carried, work)

    def close(self) -> None:
        """Begins nothing any more; what was not begun is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def be_nice() -> None:
    """Lets other threads go first. On Linux a thread has a niceness of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICENESS)


def start_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """Starts a daemon thread; the future has what `work` returns or raises, as an Exception."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = carried(work)
        except Exception as error:  # noqa: BLE001 - whoever waits for the future raises it again
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=run, name=name, daemon=True).start()
    return future


def start_task(
    work: Coroutine[Any, Any, T],
    *,
    failed: Callable[[Exception], None] | None = None,
    among: set[asyncio.Task[T]] | None = None,
) -> asyncio.Task[T]:
    """Starts a task. `failed` is called in the loop with whatever ends it but a cancellation.

    Without `failed`, the terminal is told; not of MiniVaultErrors, which are somebody's answer.
    `among` holds the task until it has ended: the loop itself may lose one that nobody holds.
    """

    def ended(task: asyncio.Task[T]) -> None:
        if among is not None:
            among.discard(task)
        work.close()  # it has not begun where the task was cancelled at once
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            (failed or _say)(error)

    task = asyncio.create_task(guarded(work))
    if among is not None:
        among.add(task)
    task.add_done_callback(ended)
    return task


def _say(error: Exception) -> None:
    if not isinstance(error, MiniVaultError):
        logger.error("work in the background failed:\n%s", trace(error))


async def guarded(work: Coroutine[Any, Any, T]) -> T:
    """The work's result. Raises an Exception, or CancelledError if this task is cancelled."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unforeseen(error) from error
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:
        raise Unforeseen(error) from error


def carried(work: Callable[[], T]) -> T:
    """Does the work. Whatever it raises is raised as something that a future can carry."""
    try:
        return work()
    except StopIteration as error:
        raise Unforeseen(error) from error
    except Exception:
        raise
    except BaseException as error:
        raise Unforeseen(error) from error
