"""A few seconds of what `make soak` does for half an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import returning_reader, soak


@pytest.mark.slow
def test_a_short_soak_breaks_no_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stays away for long here, so little has to be waited for."""
    monkeypatch.setattr(soak, "LONG", {"echo": 200})
    monkeypatch.setattr(returning_reader, "AWAY", 2.0)
    [result] = soak.soak(tmp_path, minutes=0.1, seed=7, names=["echo"])
    assert result["breaches"] == []
    assert result["resumed"] > 10
    assert result["records"] >= result["requests"]
