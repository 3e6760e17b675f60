"""A few seconds of what `make soak` does for half an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import soak


@pytest.mark.slow
def test_a_short_soak_breaks_no_promise(tmp_path: Path) -> None:
    [result] = soak.soak(tmp_path, minutes=0.1, seed=7, names=["echo"])
    assert result["breaches"] == []
    assert result["resumed"] > 10
    assert result["records"] >= result["requests"]
