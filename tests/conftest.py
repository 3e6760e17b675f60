"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No timing in tests: a busy machine must not turn one red. Every run tries the same examples.
settings.register_profile("minivault", deadline=None, derandomize=True)
settings.load_profile("minivault")


@pytest.fixture(autouse=True)
def environment_stays_as_it_was() -> Iterator[None]:
    """Commands set variables for the processes they start; the next test must not inherit them."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)
