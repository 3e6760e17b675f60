"""The measurement of many streams, with few of them."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import streams

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_few_streams_lose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_SETTLED", 0.0)
    monkeypatch.setattr(streams, "_NEWCOMERS", 2)
    monkeypatch.setattr(streams, "_LASTING", 0.5)
    streams.main(["--idle", "20", "--active", "5", "--seconds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["streams"], found["lost"]) == (25, 0)
    assert found["records"] == found["records_wanted"] == 32
    assert found["event_us"] >= 0  # the system counts in hundredths of a second
