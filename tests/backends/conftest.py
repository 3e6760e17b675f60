"""What holds for every test of a backend."""

from __future__ import annotations

import pytest

from minivault.backends.upstream import backend, server


@pytest.fixture(autouse=True)
def a_lost_server_is_soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no test waits for the pauses that spare a server which is really away."""
    monkeypatch.setattr(backend, "TICK", 0.02)
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.05)
