"""Ray is started in `make test-cluster` alone, and on machines that have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.fleets import Fleet, fleet


@pytest.fixture(scope="module")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two replicas that say fifty words a second."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet(folder, "--backend", "tests.echoes:Slow", "--longest-stream", "60") as started:
        yield started
