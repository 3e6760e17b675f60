"""A log whose chain is broken is brought back to work, and nothing of it is lost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from minivault.errors import ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault import Vault
from minivault.vault.reader import Reader
from minivault.vault.record import Record
from minivault.vault.redact import redact
from minivault.vault.repair import repair
from minivault.vault.signing import write_keys
from minivault.vault.verify import check_receipt, verify
from tests.vault.samples import lines, write

pytestmark = pytest.mark.usefixtures("nobody_writes_meanwhile")


def _grow(folder: Path, name: str, count: int, **options: object) -> list[Receipt]:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    receipts = [write(vault, f"{name}{number}", f"prompt {name}") for number in range(count)]
    vault.close()
    return receipts


def _forked(tmp_path: Path) -> tuple[Path, list[Receipt]]:
    """Two servers that did not see each other went on from record 3, in one file."""
    folder, other = tmp_path / "logs", tmp_path / "other"
    receipts = _grow(folder, "common", 3)
    shared = (folder / "log.jsonl").read_bytes()
    other.mkdir()
    (other / "log.jsonl").write_bytes(shared)
    (other / "log.jsonl").chmod(0o600)
    receipts += _grow(folder, "one", 2)
    receipts += _grow(other, "two", 2)
    with open(folder / "log.jsonl", "ab") as file:
        file.write((other / "log.jsonl").read_bytes()[len(shared) :])
        file.write(b'{"timestamp":"half')
    return folder, receipts


def test_a_forked_log_comes_back_to_work(tmp_path: Path) -> None:
    folder, receipts = _forked(tmp_path)
    before = (folder / "log.jsonl").read_bytes()
    with pytest.raises(ChainBroken, match="record 4 stands where record 6 should"):
        verify(folder)
    done = repair(folder)
    assert (done.after, done.moved, done.left) == (5, 2, 1)
    (aside,) = done.aside
    assert (folder / aside).read_bytes() == before
    found = [Record.parse(line) for line in Reader(folder).forwards()]
    assert [record.id for record in found if record.id] == [
        *(f"common{n}" for n in range(3)),
        *(f"{name}{n}" for name in ("one", "two") for n in range(2)),
    ]
    told = found[5].fields["repairs"]
    assert told["files"] == {aside: hashlib.sha256(before).hexdigest()}
    assert [check_receipt(folder, each) for each in receipts] == [1, 2, 3, 4, 5, 7, 8]
    with pytest.raises(ChainBroken):
        check_receipt(folder, Receipt(seq=4, hash="0" * 64))
    _grow(folder, "after", 2)
    assert verify(folder).last == 10
    with pytest.raises(NotFound, match="nothing to repair"):
        repair(folder)


def test_a_moved_record_proves_the_hash_that_it_had(tmp_path: Path) -> None:
    folder, receipts = _forked(tmp_path)
    repair(folder)
    text = (folder / "log.jsonl").read_text()
    moved = json.dumps(lines(folder)[-1]["moved"], separators=(",", ":"))
    (folder / "log.jsonl").write_text(text.replace(moved, moved.replace('"seq":5', '"seq":4')))
    with pytest.raises(ChainBroken):
        check_receipt(folder, receipts[-1])


def test_a_receipt_still_holds_when_its_record_was_moved_and_redacted(tmp_path: Path) -> None:
    folder, receipts = _forked(tmp_path)
    repair(folder)
    seq = check_receipt(folder, receipts[-1])
    redact(folder, seq)
    assert check_receipt(folder, receipts[-1]) == seq
    with pytest.raises(ChainBroken):
        check_receipt(folder, Receipt(seq=receipts[-1].seq, hash="0" * 64))


def test_a_signed_log_that_broke_in_an_old_file_comes_back(tmp_path: Path) -> None:
    folder, key = tmp_path / "logs", tmp_path / "key"
    write_keys(key, tmp_path / "key.pub")
    receipts = _grow(folder, "a", 15, max_bytes=2000, signing_key=key)
    redact(folder, 1, signing_key=key)
    old = sorted(folder.glob("log-*.jsonl"))
    old[1].write_bytes(old[1].read_bytes().replace(b"prompt a", b"prompt b", 1))
    assert len(old) > 2
    done = repair(folder, key)
    found = verify(folder, public_key=tmp_path / "key.pub")
    assert found.redacted == (1,)
    assert len(done.aside) == len(old) - 1 + 1  # the broken one, what came later, log.jsonl
    _grow(folder, "b", 1, signing_key=key)
    held = [each for each in receipts if each.seq not in (done.after,)]
    assert all(check_receipt(folder, each) for each in held)
