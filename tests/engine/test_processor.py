"""How many cores the model gets: never more than this process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minivault.engine import processor


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux has affinities")
def test_a_process_that_may_use_one_processor_has_one_core() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from minivault.engine.processor import available_cores; print(available_cores())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "1\n"


@pytest.mark.parametrize(
    "quota, cores", [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_a_containers_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int | None
) -> None:
    unlimited = processor.available_cores()
    (tmp_path / "cpu.max").write_text(quota, encoding="ascii")
    monkeypatch.setattr(processor, "_QUOTA", tmp_path / "cpu.max")
    assert processor.available_cores() == (cores or unlimited)


def test_two_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        (tmp_path / str(number)).write_text(siblings + "\n", encoding="ascii")
    monkeypatch.setattr(processor, "_TOPOLOGY", str(tmp_path / "{}"))
    monkeypatch.setattr(processor, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert processor.available_cores() == 2


def test_without_a_topology_each_processor_is_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_TOPOLOGY", str(tmp_path / "{}"))
    monkeypatch.setattr(processor, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert processor.available_cores() == 3
