"""Rotation and retention, ours and logrotate's: one chain across all files."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minivault.errors import ChainBroken
from minivault.vault import Vault
from minivault.vault.checkpoint import parse
from minivault.vault.verify import verify
from tests.vault.samples import begin, outcome, write


def _grow(folder: Path, count: int, **options: int | float) -> None:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    for number in range(count):
        write(vault, f"g{number}")
    vault.close()


def test_a_full_file_is_followed_by_another_in_one_chain(tmp_path: Path) -> None:
    _grow(tmp_path, 20, max_bytes=2500)
    files = sorted(tmp_path.glob("log-*.jsonl"))
    assert len(files) > 3
    assert files[0].name == "log-000000000001.jsonl"
    assert all(path.stat().st_size <= 2500 for path in files)
    assert verify(tmp_path).records == 20


def test_only_so_many_files_are_kept_and_the_rest_still_verifies(tmp_path: Path) -> None:
    _grow(tmp_path, 20, max_bytes=2500, keep_files=2)
    assert len(list(tmp_path.glob("log-*.jsonl"))) == 2
    found = verify(tmp_path)
    assert found.first > 1
    assert found.last == 20
    assert parse((tmp_path / "checkpoint").read_bytes()).first == found.first


def test_files_are_kept_for_so_many_days_of_their_records(tmp_path: Path) -> None:
    days_ago = [datetime.now(UTC) - timedelta(days=days) for days in (9, 9, 5, 5, 1, 1)]
    vault = Vault(tmp_path, max_bytes=1000)
    vault.open()
    for number, when in enumerate(days_ago):
        timestamp = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        write(vault, f"g{number}", timestamp=timestamp)
    vault.close()
    files = sorted(tmp_path.glob("log-*.jsonl"))
    assert len(files) == 5
    os.utime(files[-1], (0, 0))  # copied, touched, packed: a file's own date says nothing
    packed = files[0].with_name(f"{files[0].name}.gz")
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    files[0].unlink()
    _grow(tmp_path, 1, keep_days=3)
    assert sorted(tmp_path.glob("log-*.jsonl*")) == files[4:]
    found = verify(tmp_path)
    assert (found.first, found.last) == (5, 7)


def test_a_checkpoint_that_was_kept_is_no_alarm_when_old_files_are_gone(tmp_path: Path) -> None:
    folder, kept = tmp_path / "logs", tmp_path / "kept"
    for _ in range(3):
        _grow(folder, 6, max_bytes=2500, keep_files=2)
        shutil.copy(folder / "checkpoint", kept.with_name(f"kept{_}"))
    found = verify(folder)
    assert found.first > 7
    for number in range(3):  # the records of the first ones are gone
        assert verify(folder, checkpoint=tmp_path / f"kept{number}").first == found.first
    (folder / "checkpoint").unlink()  # now nothing says that they were removed on purpose
    with pytest.raises(ChainBroken, match="the beginning is cut"):
        verify(folder, checkpoint=tmp_path / "kept0")


def test_a_file_that_logrotate_moved_is_noticed(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    write(vault, "a")
    os.rename(tmp_path / "log.jsonl", tmp_path / "log.jsonl.1")
    write(vault, "b")
    os.rename(tmp_path / "log.jsonl.1", tmp_path / "log.jsonl.2")
    os.rename(tmp_path / "log.jsonl", tmp_path / "log.jsonl.1")
    (tmp_path / "log.jsonl").touch(mode=0o600)
    write(vault, "c")
    vault.close()
    assert verify(tmp_path).records == 3
    assert len((tmp_path / "log.jsonl").read_bytes().splitlines()) == 1


def test_the_chain_goes_on_when_the_old_files_are_out_of_sight(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    _grow(folder, 3)
    os.rename(folder / "log.jsonl", tmp_path / "archive")
    _grow(folder, 3)
    os.rename(tmp_path / "archive", folder / "log.jsonl-20261123")
    assert verify(folder).records == 6


def test_two_processes_see_each_others_rotation(tmp_path: Path) -> None:
    one, two = Vault(tmp_path, max_bytes=1500), Vault(tmp_path, max_bytes=1500)
    one.open()
    two.open()
    for number in range(10):
        write(one, f"one{number}")
        write(two, f"two{number}")
        write(two, f"three{number}")
    one.close()
    two.close()
    assert verify(tmp_path).records == 30
    assert len(list(tmp_path.glob("log-*.jsonl"))) > 5


def test_a_long_journal_is_rotated_and_keeps_what_is_open(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    vault._writer._journal._max_bytes = 2000
    long = vault.begin(begin("long")).result(60)
    for number in range(30):
        vault.pieces([(long, f"{number} ")])
        write(vault, f"short{number}")
    assert len(list(tmp_path.glob("inflight-*"))) > 2
    vault.close()
    again = Vault(tmp_path)
    assert again.open() == 1
    (record,) = again.find("long")
    assert record.response == "".join(f"{number} " for number in range(30))
    again.close()
    assert not list(tmp_path.glob("inflight-*"))


@pytest.mark.usefixtures("many_ticks")
def test_the_journal_is_emptied_soon_after_the_last_end(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a")).result(30)
    (journal,) = tmp_path.glob("inflight-*")
    assert journal.stat().st_size > 0
    vault.commit(entry, outcome("whole")).result(30)
    deadline = time.monotonic() + 30
    while journal.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    write(vault, "b")
    vault.close()
    assert verify(tmp_path).records == 2
