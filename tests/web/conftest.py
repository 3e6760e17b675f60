"""What holds for every test of a route."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.health_watch import HEALTH, longest_wait


@pytest.fixture(autouse=True)
def nobody_waits_for_health() -> Iterator[None]:
    """Whatever a route does: others go on."""
    HEALTH.begin()
    yield
    worst = HEALTH.end()
    assert worst.seconds < longest_wait(), f"/health took {worst.seconds:.2f} s"
