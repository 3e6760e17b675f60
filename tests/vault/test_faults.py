"""The disk fails at every place in turn: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import CannotStart, LogUnavailable
from minivault.vault import Vault, private_file
from minivault.vault import writer as writer_module
from minivault.vault.journal import Journal
from minivault.vault.log import Log
from minivault.vault.private_file import Folder, Lock
from minivault.vault.verify import verify
from tests.small_disk import small_file_system
from tests.vault.load import (
    Acknowledged,
    generate,
    read_acknowledged,
    records,
    require_kept_promises,
)
from tests.vault.samples import begin, outcome, write

Fault = Callable[..., Any]

#: Every place with MINIVAULT_FULL=1, else every third.
STEP = 1 if os.environ.get("MINIVAULT_FULL") else 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_TICK", 0.01)


class Disk:
    """Counts calls of one system call and lets the n-th one fail, and those after it if asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, fault: Fault) -> None:
        self.calls = 0
        self.fail_at = 0
        self.lasting = False
        self._real: Callable[..., Any] = getattr(os, call)
        self._fault = fault
        monkeypatch.setattr(os, call, self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        hit = self.calls >= self.fail_at if self.lasting else self.calls == self.fail_at
        if self.fail_at and hit:
            return self._fault(self._real, *arguments)
        return self._real(*arguments, **named)


def raises(number: int) -> Fault:
    def fault(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fault


def short(share: float) -> Fault:
    def fault(real: Any, descriptor: int, data: bytes) -> int:
        return int(real(descriptor, data[: int(len(data) * share)]))

    return fault


FAULTS = {
    "ENOSPC": raises(errno.ENOSPC),
    "EIO": raises(errno.EIO),
    "EINTR": raises(errno.EINTR),
    "EDQUOT": raises(errno.EDQUOT),
    "one byte": short(0.0),
    "half": short(0.5),
}


def _until_well(vault: Vault) -> None:
    deadline = time.monotonic() + 60
    while vault.problem or vault.statistics()["unwritten"]:
        assert time.monotonic() < deadline, vault.problem
        time.sleep(0.005)


def _load(folder: Path, disk: Disk, fail_at: int, *, lasting: bool = False) -> Acknowledged:
    told = Acknowledged()
    vault = Vault(folder, max_bytes=4000)
    vault.open()
    disk.calls, disk.fail_at, disk.lasting = 0, fail_at, lasting
    generate(vault, 9, told.tell)
    disk.fail_at = 0
    _until_well(vault)
    generate(vault, 3, told.tell, prefix="later")
    vault.close()
    return told


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_write_may_fail(
    fault: str, lasting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, "write", FAULTS[fault])
    for number in range(1, 1000, STEP):
        folder = tmp_path / str(number)
        told = _load(folder, disk, number, lasting=lasting)
        disk.fail_at = 0
        assert len(told.ended) >= 3, "it does not recover"
        require_kept_promises(folder, told)
        kept = [record for record in records(folder) if record.id in told.kept]
        assert all(record.finish_reason == "length" for record in kept), "the outcome is lost"
        if disk.calls < number and not lasting:
            assert number > 10
            return
        if lasting and number > 20:
            return


@pytest.mark.slow
def test_a_torn_write_that_cannot_be_undone_at_once_is_undone_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting = Disk(monkeypatch, "ftruncate", raises(errno.EIO))
    for share in (0.4, 0.7, 0.99):
        disk = Disk(monkeypatch, "write", short(share))
        for number in range(1, 30, STEP):
            folder = tmp_path / f"{share}-{number}"
            told = _load_torn(folder, disk, cutting, number)
            require_kept_promises(folder, told)
        monkeypatch.undo()
        monkeypatch.setattr(writer_module, "_TICK", 0.01)
        cutting = Disk(monkeypatch, "ftruncate", raises(errno.EIO))


def _load_torn(folder: Path, disk: Disk, cutting: Disk, fail_at: int) -> Acknowledged:
    """One write is short, and the cuts that follow it fail for a while."""
    told = Acknowledged()
    vault = Vault(folder, max_bytes=4000)
    vault.open()
    disk.calls, disk.fail_at = 0, fail_at
    real = disk._fault

    def fault(*arguments: Any) -> Any:
        cutting.calls, cutting.fail_at, cutting.lasting = 0, 1, True
        return real(*arguments)

    disk._fault = fault
    generate(vault, 9, told.tell)
    disk._fault, disk.fail_at, cutting.fail_at = real, 0, 0
    _until_well(vault)
    generate(vault, 3, told.tell, prefix="later")
    vault.close()
    return told


@pytest.mark.slow
@pytest.mark.parametrize("call", ["rename", "ftruncate", "unlink", "open"])
def test_each_change_of_a_file_may_fail(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, call, raises(errno.ENOSPC))
    for number in range(1, 1000, STEP):
        folder = tmp_path / str(number)
        told = _load(folder, disk, number)
        calls, disk.fail_at = disk.calls, 0
        require_kept_promises(folder, told)
        if calls < number:
            return


@pytest.mark.slow
def test_after_a_failed_fsync_nothing_is_accepted_until_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, "fdatasync", raises(errno.EIO))
    for number in range(1, 1000, STEP):
        folder, told = tmp_path / str(number), Acknowledged()
        vault = Vault(folder, max_bytes=4000)
        vault.open()
        disk.calls, disk.fail_at = 0, number
        generate(vault, 9, told.tell)
        disk.fail_at = 0
        if told.refused or told.kept:
            assert "fsync" in str(vault.problem)
            time.sleep(0.05)  # several tries to get well would have been made by now
            with pytest.raises(LogUnavailable, match="restart"):
                vault.begin(begin("after")).result(60)
        vault.close()
        require_kept_promises(folder, told)
        if not told.refused and not told.kept:
            return


def test_a_finished_text_that_cannot_be_written_is_written_later_with_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, "write", raises(errno.ENOSPC))
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a")).result(60)
    disk.fail_at, disk.lasting = 1, True
    with pytest.raises(LogUnavailable, match="No space left"):
        vault.commit(entry, outcome("all of it", "stop")).result(60)
    assert vault.problem == "No space left on device"
    with pytest.raises(LogUnavailable):
        vault.begin(begin("b")).result(60)
    disk.fail_at = 0
    _until_well(vault)
    write(vault, "c")
    vault.close()
    found = [(record.id, record.finish_reason, record.response) for record in records(tmp_path)]
    assert found == [("a", "stop", "all of it"), ("c", "length", " there")]


def test_the_outcome_of_an_unwritten_record_survives_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def only_the_journal(descriptor: int, data: bytes) -> int:
        if data.startswith(b'{"timestamp"'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    vault = Vault(tmp_path / "logs")
    vault.open()
    entry = vault.begin(begin("a")).result(60)
    vault.pieces([(entry, "half of it")])
    monkeypatch.setattr(os, "write", only_the_journal)
    with pytest.raises(LogUnavailable):
        vault.commit(entry, outcome("all of it", "stop")).result(60)
    shutil.copytree(tmp_path / "logs", tmp_path / "crashed")
    monkeypatch.undo()
    vault.close()
    for folder in (tmp_path / "crashed", tmp_path / "logs"):
        again = Vault(folder)
        again.open()
        again.close()
        (record,) = records(folder)
        assert (record.finish_reason, record.response) == ("stop", "all of it")


def test_a_torn_step_takes_nothing_of_the_next_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, "write", short(0.5))
    cutting = Disk(monkeypatch, "ftruncate", raises(errno.EIO))
    vault = Vault(tmp_path / "logs")
    vault.open()
    one, two = (vault.begin(begin(id)).result(60) for id in ("one", "two"))
    disk.calls, disk.fail_at, cutting.calls, cutting.fail_at = 0, 1, 0, 1
    with pytest.raises(LogUnavailable):
        vault.pieces([(one, "lost"), (two, "lost")])
    vault.pieces([(two, "said")])
    shutil.copytree(tmp_path / "logs", tmp_path / "crashed")
    for entry in (one, two):
        vault.commit(entry, outcome("x"))
    vault.close()
    again = Vault(tmp_path / "crashed")
    assert again.open() == 2
    again.close()
    said = {record.id: record.response for record in records(tmp_path / "crashed")}
    assert said == {"one": "", "two": "said"}


def test_a_stopped_process_that_holds_the_lock_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_file, "_LOCK_WAIT", 0.05)
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a")).result(60)
    other = Lock(Folder(tmp_path))
    with other.held():
        with pytest.raises(LogUnavailable, match="another process holds"):
            vault.commit(entry, outcome("x", "stop")).result(60)
        with pytest.raises(CannotStart, match="another process holds"):
            Vault(tmp_path).open()
    _until_well(vault)
    vault.close()
    assert [record.finish_reason for record in records(tmp_path)] == ["stop"]


def test_nothing_is_acknowledged_before_its_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path)
    vault.open()
    real, synced, over = os.fdatasync, threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        assert synced.wait(10)
        if not over.is_set():
            synced.clear()
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    begun = vault.begin(begin("a"))
    with pytest.raises(TimeoutError):
        begun.result(0.1)
    synced.set()
    ended = vault.commit(begun.result(10), outcome("x"))
    with pytest.raises(TimeoutError):
        ended.result(0.1)
    over.set()
    synced.set()
    ended.result(10)
    vault.close()


class Panic(BaseException):
    """No Exception, as extensions raise it."""


@pytest.mark.parametrize("error", [ValueError("x"), Panic("x"), SystemExit(1)], ids=repr)
def test_a_writer_that_fails_as_nobody_foresaw_refuses_and_keeps_nobody_waiting(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("one")).result(10)
    with monkeypatch.context() as broken:
        broken.setattr(Log, "append", fail)
        broken.setattr(Journal, "end", fail)
        with pytest.raises(LogUnavailable, match="its writer failed"):
            vault.commit(entry, outcome("words")).result(10)
    with pytest.raises(LogUnavailable, match="restart the server"):
        vault.begin(begin("two")).result(10)
    assert "the log's writer failed" in caplog.text
    vault.close()
    again = Vault(tmp_path)
    assert again.open() == 1
    again.close()


def test_a_removed_journal_is_noticed_before_anything_is_accepted(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    (journal,) = tmp_path.glob("inflight-*")
    journal.unlink()
    with pytest.raises(LogUnavailable, match="No such file|removed"):
        vault.begin(begin("a")).result(60)
    _until_well(vault)
    write(vault, "b")
    vault.close()


def test_a_line_of_somebody_else_stops_the_log_until_it_is_gone(tmp_path: Path) -> None:
    vault, log = Vault(tmp_path), tmp_path / "log.jsonl"
    vault.open()
    write(vault, "a")
    entry = vault.begin(begin("b")).result(60)
    ours = log.stat().st_size
    with log.open("ab") as file:
        file.write(b"not ours\n")
    with pytest.raises(LogUnavailable, match="after record 1, this is no record"):
        vault.commit(entry, outcome("all of it")).result(60)
    os.truncate(log, ours)
    _until_well(vault)
    write(vault, "c")
    vault.close()
    assert [record.id for record in records(tmp_path)] == ["a", "b", "c"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with small_file_system(tmp_path / "small", "64k") as place:
        yield place


def test_a_full_disk_refuses_work_and_a_bigger_one_takes_it_again(small_disk: Path) -> None:
    folder, told = small_disk / "logs", Acknowledged()
    vault = Vault(folder)
    vault.open()
    number = 0
    while not told.refused and not told.kept:
        generate(vault, 3, told.tell, prefix=f"a{number}-")
        number += 1
        assert number < 1000
    assert told.ended
    assert (folder / "log.jsonl").read_bytes().endswith(b"\n")
    verify(folder)
    subprocess.run(["mount", "-o", "remount,size=512k", str(small_disk)], check=True)
    _until_well(vault)
    generate(vault, 3, told.tell, prefix="bigger")
    assert "bigger0" in told.ended
    vault.close()
    require_kept_promises(folder, told)


@pytest.mark.slow
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "from tests.vault.load import main\n"
        "main()\n"
    )
    folder = tmp_path / "logs"
    command = [sys.executable, "-c", code, str(folder), "30", "1000000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told = read_acknowledged(done.stdout)
    assert told.ended
    assert told.refused | told.kept
    require_kept_promises(folder, told)
