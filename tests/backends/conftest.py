"""What holds for every test of a backend."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from minivault.backends.upstream import backend, server


@pytest.fixture(autouse=True)
def a_lost_server_is_soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no test waits for the pauses that spare a server which is really away."""
    monkeypatch.setattr(backend, "TICK", 0.02)
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.05)


@pytest.fixture(autouse=True)
def of_equal_servers_the_first_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none that is drawn by lot: six or eight draws leave out one of two now and then."""
    lot = SimpleNamespace(random=lambda: 0.0, uniform=lambda low, high: (low + high) / 2)
    monkeypatch.setattr(server, "random", lot)
