"""What tests of the log share."""

from __future__ import annotations

import pytest

from minivault.vault import verify, writer


@pytest.fixture
def nobody_writes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no verification that fails has to wait and look again."""
    monkeypatch.setattr(verify, "_PAUSE", 0.0)


@pytest.fixture
def many_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer does once a second it does fifty times."""
    monkeypatch.setattr(writer, "_TICK", 0.02)
