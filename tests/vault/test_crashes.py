"""The process is killed at any moment: what it had promised is in the log afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from minivault.vault import Vault
from minivault.vault.verify import verify
from tests.tools import tool
from tests.vault.load import (
    Acknowledged,
    generate,
    read_acknowledged,
    records,
    require_kept_promises,
)
from tests.vault.samples import begin, outcome

FULL = bool(os.environ.get("MINIVAULT_FULL"))
CALLS = (
    "write,pwrite64,fdatasync,fsync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,flock,close,"
    "mkdir,mkdirat,link,linkat"
)
NAMES = {"rename", "renameat", "unlink", "unlinkat", "mkdir", "link", "linkat"}


def _command(folder: Path, count: int, max_bytes: int, *prefix: str) -> list[str]:
    arguments = [str(folder), str(count), str(max_bytes), *prefix]
    return [sys.executable, "-m", "tests.vault.load", *arguments]


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    folder, told, chance = tmp_path / "logs", Acknowledged(), random.Random(7)
    for life in range(100 if FULL else 10):
        command = _command(folder, 100_000, 20_000, f"life{life}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            heard = "".join(islice(process.stdout, chance.randint(1, 300)))
            time.sleep(chance.uniform(0.0, 0.005))  # not always right after an acknowledgement
            process.send_signal(signal.SIGKILL)
            _add(told, heard + process.stdout.read())
        if life % 3 == 0 and (folder / "log.jsonl").exists():  # else it was killed while rotating
            with open(folder / "log.jsonl", "ab") as log:
                log.write(b'{"timestamp":"2026-')  # as if the power went while it was written
    require_kept_promises(folder, told)
    reasons = Counter(record.finish_reason for record in records(folder))
    assert len(told.ended) > 20
    assert set(reasons) <= {"length", "interrupted"}


def _add(told: Acknowledged, output: str) -> None:
    more = read_acknowledged(output)
    told.begun |= more.begun
    told.said |= more.said
    told.ended |= more.ended


def _traced(log: Path, options: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    trace = [tool("strace"), "-f", "-o", str(log), *options]
    command = [*trace, *_command(folder, 6, 1500)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_kill_9_between_any_two_system_calls_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    folder = tmp_path / "whole"
    done = _traced(log, ["-e", f"trace={CALLS}"], folder)
    if done.returncode != 0:
        pytest.skip(f"strace cannot trace here: {done.stderr[:200]}")
    points = _points(log.read_text())
    names = [point for point in points if point[0] in NAMES and point[1] <= 3]  # of the start
    rest = [point for point in points if point not in names]
    chosen = points if FULL else [*names, *random.sample(rest, min(14, len(rest)))]
    killed = 0
    for call, number in chosen:
        folder = tmp_path / f"{call}{number}"
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        done = _traced(log, ["-e", f"trace={call}", "-e", inject], folder)
        killed += done.returncode != 0
        if folder.exists():
            require_kept_promises(folder, read_acknowledged(done.stdout))
    assert killed > len(chosen) // 2


def _points(trace: str) -> list[tuple[str, int]]:
    """Each call that some thread made, from the first one that touches the log."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in trace.splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            counts[match[1], match[2]] += 1
    longest: Counter[str] = Counter()
    for (_, call), count in counts.items():
        longest[call] = max(longest[call], count)
    return [
        (call, number)
        for call, count in sorted(longest.items())
        for number in range(max(1, count - 40) if call == "close" else 1, count + 1)
    ]


@pytest.mark.slow
def test_a_power_cut_may_leave_any_part_of_what_was_not_synced(tmp_path: Path) -> None:
    """What came after the checkpoint is cut at each byte, or zeroes stand where data should be."""
    folder = tmp_path / "logs"
    synced, checkpoint = _grown(folder, "a")
    shutil.copytree(folder / "tree", tmp_path / "tree")  # it never has what was not synced
    unsynced = _grown(folder, "b")[0][len(synced) :]
    for length in range(1, len(unsynced), 1 if FULL else 97):
        whole = unsynced[: unsynced.rfind(b"\n", 0, length) + 1]
        hole = whole + b"\0" * 40 + unsynced[len(whole) + 40 :]
        for tail in (unsynced[:length], whole + b"\0" * length, hole):
            (folder / "log.jsonl").write_bytes(synced + tail)
            (folder / "checkpoint").write_bytes(checkpoint)
            shutil.rmtree(folder / "tree")
            shutil.copytree(tmp_path / "tree", folder / "tree")
            vault = Vault(folder)
            vault.open()
            vault.close()
            assert (folder / "log.jsonl").read_bytes() == synced + whole
            verify(folder)


def _grown(folder: Path, prefix: str) -> tuple[bytes, bytes]:
    """The log and its checkpoint after three more generations."""
    vault = Vault(folder)
    vault.open()
    generate(vault, 3, Acknowledged().tell, prefix)
    vault.close()
    return (folder / "log.jsonl").read_bytes(), (folder / "checkpoint").read_bytes()


@pytest.mark.slow
def test_four_processes_write_one_chain_with_rotation_in_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    processes = [
        subprocess.Popen(_command(folder, 60, 20_000, f"w{number}"), stdout=subprocess.PIPE)
        for number in range(4)
    ]
    told = Acknowledged()
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        _add(told, output.decode())
    assert len(told.ended) == 240
    assert len(list(folder.glob("log-*.jsonl"))) >= 4
    found = verify(folder)
    assert (found.first, found.last) == (1, 240)
    require_kept_promises(folder, told)


def test_a_living_process_keeps_its_journal(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    one, two = Vault(folder), Vault(folder)
    one.open()
    entry = one.begin(begin("a")).result(60)
    assert two.open() == 0
    two.close()
    one.commit(entry, outcome("whole")).result(60)
    one.close()
    assert [record.response for record in records(folder)] == ["whole"]
