"""Start, memory and the first token, measured small."""

from __future__ import annotations

import json

import pytest

from benchmarks import start


@pytest.mark.slow
def test_a_start_is_measured_with_its_memory_and_first_tokens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start.main(["--shape", "tiny", "--dtype", "float32", "--rounds", "1", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["help_seconds"] > 0
    [row] = result["rows"]
    assert row["ready_seconds"] > 0
    assert 50 < row["ready_mb"] <= row["busy_mb"] * 1.1 <= row["peak_mb"] * 1.1
    assert row["first_token_ms"] > 0
    assert row["newcomer_ms"] > 0
    assert len(start.cells(row)) == len(start.COLUMNS)
