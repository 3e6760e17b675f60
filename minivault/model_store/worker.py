"""A download's own thread, which never keeps a process from ending."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event

from minivault.background import start_thread
from minivault.model_store.progress import Progress, Report

_AGAIN = 0.2  # seconds after which the last report is made again


class _Gone(Exception):
    """Nobody waits for the work any more."""


def run_watched(work: Callable[[Report], None], report: Report) -> None:
    """Run `work` in a daemon thread until it ends; raises what it raises.

    What it reports is reported from this thread while it waits, and again when nothing new comes,
    so that `report` can end the waiting by raising, even if the network stands still. The work
    then ends by itself at its next report.
    """
    moments: SimpleQueue[Progress | None] = SimpleQueue()
    taken, gone = Event(), Event()

    def hand_over(progress: Progress) -> None:
        moments.put(progress)
        while not taken.wait(_AGAIN):
            if gone.is_set():
                raise _Gone
        taken.clear()

    ended = start_thread(lambda: work(hand_over), name="download")
    ended.add_done_callback(lambda _: moments.put(None))
    try:
        last: Progress | None = None
        while True:
            try:
                moment = moments.get(timeout=_AGAIN)
            except Empty:
                if last is not None:
                    report(last)
                continue
            if moment is None:  # the end
                break
            report(moment)
            last = moment
            taken.set()
    finally:
        gone.set()
    ended.result()
