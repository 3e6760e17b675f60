"""Where the server's time goes, measured small."""

from __future__ import annotations

import cProfile
import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import doors, overhead
from benchmarks.layers import seconds_by_layer, slowest

linux = pytest.mark.skipif(sys.platform != "linux", reason="processor time by thread is Linux's")


@linux
@pytest.mark.slow
def test_loop_layers_and_engine_are_measured_bare_and_served(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--shape", "tiny", "--clients", "2", "--pieces", "50", "--rounds", "1"]
    overhead.main([*small, "--dtype", "float32", "--json"])
    result = json.loads(capsys.readouterr().out)
    echo = result["echo"]
    assert echo["tokens_per_second"] > 0
    assert echo["loop_us_per_token"] > 0
    assert sum(echo["layers"].values()) == pytest.approx(1, abs=0.01)
    assert {"generations", "vault"} <= set(echo["layers"])
    [row] = result["engine"]
    assert row["bare_tokens_per_second"] > 0
    assert row["served_tokens_per_second"] > 0
    assert row["loop_us_per_token"] > 0


@linux
@pytest.mark.slow
def test_the_doors_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--shape", "tiny", "--clients", "2", "--tokens", "8", "--rounds", "1"]
    doors.main([*small, "--threads", "1", "--json"])
    rows = {row.pop("door"): row for row in json.loads(capsys.readouterr().out)["doors"]}
    assert list(rows) == ["/generate", "/v1/completions", "/v1/chat/completions"]
    assert all(row["loop_us_per_token"] > 0 for row in rows.values())
    assert rows["/generate"]["points_above_generate"] == 0


def test_time_in_what_is_built_in_counts_for_its_caller(tmp_path: Path) -> None:
    profile = cProfile.Profile()
    profile.runcall(_in_json)
    profile.dump_stats(tmp_path / "profile")
    seconds = seconds_by_layer(tmp_path / "profile")
    assert seconds["JSON"] > 0
    assert sum(seconds.values()) == pytest.approx(_own_time(profile), rel=0.2)
    assert any(re.search(r"json|encode", name) for name, _ in slowest(tmp_path / "profile", 5))


def _in_json() -> None:
    for _ in range(2000):
        json.dumps({"text": " there"}, separators=(",", ":"))


def _own_time(profile: cProfile.Profile) -> float:
    return sum(each.inlinetime for each in profile.getstats())
