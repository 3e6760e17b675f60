"""What texts that are held to something may say next, computed where it keeps nobody waiting.

A mask takes microseconds for most schemas, and tens of milliseconds for some. Within a step of the
engine, for which all texts wait, there is time for the former alone; what takes longer is computed
by threads of their own, and its text sits out of the steps until it is there. What a text says does
not depend on when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from minivault.background import Pool
from minivault.engine.processor import available_cores
from minivault.engine.sequence import Sequence

SHARE = 0.1
"""How much longer masks may make a step."""

LEAST = 0.001
"""Seconds that they may take in any step: most take a few hundredths of that."""


class Masks:
    """Used by the engine's thread alone."""

    def __init__(self, done: Callable[[float], None]) -> None:
        """`done` hears, in any thread, for how many seconds a text sat out whose mask is there."""
        self._done = done
        self._pool = Pool("masks", max(1, available_cores() // 4), nice=True)

    def prepare(self, sequences: Iterable[Sequence], step_seconds: float) -> None:
        """Behind a step that took so long: what each of these, which are held to something, may say
        next, now or later.
        """
        left = max(LEAST, SHARE * step_seconds)
        for sequence in sequences:
            constraint = sequence.constraint
            assert constraint is not None
            if constraint.cost > left:
                self._begin(sequence, constraint.prepare)
                continue
            left -= constraint.cost
            try:
                constraint.prepare()
            except BaseException as error:  # noqa: BLE001 (it is the text's own, and ends it)
                sequence.mask = Future()
                sequence.mask.set_exception(error)

    def _begin(self, sequence: Sequence, compute: Callable[[], None]) -> None:
        began = time.monotonic()

        def done(_: Future[None]) -> None:
            waited = time.monotonic() - began
            sequence.waited += waited
            self._done(waited)

        sequence.mask = self._pool.submit(compute)
        sequence.mask.add_done_callback(done)

    def close(self) -> None:
        """Computes none any more but what is under way."""
        self._pool.close()
