"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.loop_watch import LoopWatch, limit

# No timing in tests: a busy machine must not turn one red. Every run tries the same examples.
settings.register_profile("minivault", deadline=None, derandomize=True)
settings.load_profile("minivault")


WATCH = LoopWatch()
WATCH.install()


@pytest.fixture(autouse=True)
def no_server_holds_its_loop() -> Iterator[None]:
    """One request must never make all others wait: see tests/loop_watch.py."""
    WATCH.reset()
    yield
    worst = WATCH.worst
    assert worst.seconds < limit(), f"{worst.what} held the loop for {worst.seconds:.3f} s"


@pytest.fixture(autouse=True)
def environment_stays_as_it_was() -> Iterator[None]:
    """Commands set variables for the processes they start; the next test must not inherit them."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)
