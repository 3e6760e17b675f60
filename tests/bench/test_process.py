"""A module that measures, and what it leaves behind."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

import pytest

from minivault.bench.process import MeasurementFailed, run_module

STARTS_ANOTHER = """
import json, subprocess
sleeper = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(json.dumps({"pid": sleeper.pid}), flush=True)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "measuring.py"


def has_ended(pid: int) -> bool:
    """Waits for it, but not for ever."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended, _, _ = select.select([process], [], [], 10)
    os.close(process)
    return bool(ended)


def test_what_a_module_started_ends_with_it(module: Path) -> None:
    module.write_text(STARTS_ANOTHER)
    (row,) = run_module("measuring", {})
    assert has_ended(row["pid"])


def test_also_where_what_it_prints_is_no_figure(module: Path) -> None:
    module.write_text(STARTS_ANOTHER + "print('INFO: so many blocks', flush=True)\n")
    rows = run_module("measuring", {})
    pid = next(rows)["pid"]
    with pytest.raises(json.JSONDecodeError):
        next(rows)
    assert has_ended(pid)


def test_a_module_that_fails_says_its_last_word(module: Path) -> None:
    module.write_text("raise SystemExit('no such model')\n")
    with pytest.raises(MeasurementFailed, match="measuring: no such model"):
        list(run_module("measuring", {}))
