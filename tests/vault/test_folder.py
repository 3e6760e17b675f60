"""What happens to a log's folder: clean-ups, copies, conflict files, damaged files."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from minivault.errors import ChainBroken
from minivault.vault import Vault
from minivault.vault.reader import Reader
from minivault.vault.segments import place
from minivault.vault.verify import verify
from tests.vault.samples import begin, outcome, write


def _grow(folder: Path, count: int, name: str = "g", **options: int) -> None:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    for number in range(count):
        write(vault, f"{name}{number}", f"prompt {name}")
    vault.close()


def test_a_clean_up_of_dot_files_forks_nothing(tmp_path: Path) -> None:
    one, two = Vault(tmp_path), Vault(tmp_path)
    one.open()
    for path in tmp_path.glob(".*"):
        path.unlink()
    two.open()
    for number in range(75):
        futures = [vault.begin(begin(f"{n}-{number}")) for n, vault in enumerate((one, two))]
        ends = [
            vault.commit(future.result(10), outcome("x"))
            for vault, future in zip((one, two), futures, strict=True)
        ]
        assert all(end.result(10) for end in ends)
    one.close()
    two.close()
    assert verify(tmp_path).last == 150


COPIES = [
    "log.jsonl~",
    "log.jsonl.bak",
    "log.jsonl.orig",
    "log (1).jsonl",
    "log copy.jsonl",
    "log (conflicted copy 2026-11-23).jsonl",
    "log.sync-conflict-20261123-102345-ABCDEFG.jsonl",
    "log-000000000001 (1).jsonl",
    "log-000000000001.jsonl.bak",
    "log.jsonl.1",  # the name of logrotate, and the bytes of a copy
    "log.jsonl-20261123",
    "log.jsonl.2.gz",
]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_never_read_in_the_logs_place(name: str, tmp_path: Path) -> None:
    _grow(tmp_path, 8, max_bytes=2500)
    files = sorted(tmp_path.glob("log*"))
    assert len(files) == 3
    for source in files:
        data = source.read_bytes()
        copy = data[: data.index(b"\n", 900) + 1]  # it was made before the last records came
        (tmp_path / name).write_bytes(gzip.compress(copy) if name.endswith(".gz") else copy)
        reader = Reader(tmp_path)
        seqs = [place(line)[0] for line in reader.forwards()]
        assert seqs == list(range(1, len(seqs) + 1))
        assert [place(line)[0] for line in reader.lines_backwards()] == seqs[::-1]
        assert all(reader.get(seq).seq == seq for seq in seqs)
        assert verify(tmp_path).last == seqs[-1]
        _grow(tmp_path, 1)
        assert verify(tmp_path).last == seqs[-1] + 1
        (tmp_path / name).unlink()


def test_a_damaged_copy_beside_the_log_is_no_alarm(tmp_path: Path) -> None:
    """Of a file that nobody reads nothing has to be right."""
    _grow(tmp_path, 1)
    (tmp_path / "log-000000000001.jsonl.gz").write_bytes(b"damaged")
    _grow(tmp_path, 1)
    assert verify(tmp_path).last == 2


def test_two_files_that_claim_the_same_records_are_both_named(tmp_path: Path) -> None:
    folder, other = tmp_path / "logs", tmp_path / "other"
    _grow(folder, 3)
    _grow(other, 2, "other")
    shutil.copy(other / "log.jsonl", folder / "log.jsonl.1")
    for attempt in (verify, lambda folder: Vault(folder).open()):
        with pytest.raises(ChainBroken, match=r"^log.jsonl.1: it and log.jsonl hold different"):
            attempt(folder)


def _packed(folder: Path) -> Path:
    oldest = sorted(folder.glob("log-*.jsonl"))[0]
    packed = oldest.with_name(f"{oldest.name}.gz")
    packed.write_bytes(gzip.compress(oldest.read_bytes(), mtime=0))
    packed.chmod(0o600)
    oldest.unlink()
    return packed


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "magic": _flip(0),
    "method": _flip(2),
    "first byte": _flip(12),
    "middle": _flip(150),
    "checksum": _flip(-6),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_packed_file_is_named_and_stops_nobody(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    _grow(folder, 6, max_bytes=2000)
    vault = Vault(folder, max_bytes=2000, keep_files=6)
    vault.open()
    packed = _packed(folder)
    packed.write_bytes(DAMAGES[damage](packed.read_bytes()))
    for number in range(8):  # over some rotations
        write(vault, f"running{number}")
    assert vault.problem is None
    vault.close()
    _grow(folder, 2, "next", max_bytes=2000)
    newest = [place(line)[0] for line in islice(Reader(folder).lines_backwards(), 5)]
    assert newest == [16, 15, 14, 13, 12]
    assert Reader(folder).get(14).seq == 14
    with pytest.raises(ChainBroken, match=packed.name if packed.stat().st_size else "beginning"):
        verify(folder)


def test_the_parent_of_each_new_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, set()

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    _grow(tmp_path / "new" / "logs", 1)
    parents = {tmp_path.stat().st_ino, (tmp_path / "new").stat().st_ino}
    assert parents <= synced, "a power cut would take the folder, and the log with it"
