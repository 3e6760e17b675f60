"""What tests of the log share."""

from __future__ import annotations

import pytest

from minivault.vault import verify


@pytest.fixture
def nobody_writes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no verification that fails has to wait and look again."""
    monkeypatch.setattr(verify, "_PAUSE", 0.0)
