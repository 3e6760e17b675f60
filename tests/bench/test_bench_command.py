"""`minivault bench`, small: every figure is there, and the last line is JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from minivault.cli import main


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "minivault", "bench", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_engine_and_server_are_measured_for_each_number_at_once() -> None:
    done = bench("--shape", "tiny", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    rows = result["rows"]
    assert [(row["what"], row["at_once"]) for row in rows] == [
        ("engine", 1),
        ("engine", 8),
        ("server", 1),
        ("server", 8),
    ]
    assert result["random_weights"] is True
    assert result["bandwidth_gb_s"] > 0
    for row in rows:
        assert row["tokens_per_second"] > 0
        assert 0 < row["first_token_p50"] <= row["first_token_p95"]
        assert 0 <= row["between_p50"] <= row["between_p95"]  # 0: they came together
        assert row["memory_mb"] > 50
        assert row["share"] > 0


@pytest.mark.slow
def test_the_model_that_would_be_served_is_measured_to_its_full_length() -> None:
    done = bench(
        "--model", "storyteller", "--quick", "--dtype", "float32", "--at-once", "2", "--markdown"
    )
    assert done.returncode == 0, done.stderr
    assert "storyteller" in done.stdout
    assert "| float32 | server | 2 |" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--shape", "enormous"),
        ("--dtype", "float64"),
        ("--runner", "torch"),
        ("--at-once", "0"),
        ("--at-once", "some"),
    ],
)
def test_wrong_options_are_refused_by_name(
    options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_a_model_that_is_not_there_cannot_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "nobody/nothing"]) == 3
    assert "nobody/nothing" in capsys.readouterr().err
