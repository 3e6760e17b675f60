"""Logs that version 0.1.0 wrote verify, replay, are redacted, and go on in today's form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minivault.errors import ChainBroken
from minivault.vault import Vault
from minivault.vault.reader import Reader
from minivault.vault.record import Record, dump, line_hash, link, now
from minivault.vault.redact import redact
from minivault.vault.redacted import redacted_form
from minivault.vault.replay import obstacle
from minivault.vault.verify import verify
from tests.vault.samples import lines, write

OLD = Path(__file__).with_name("logs_0_1_0")  # five records, the second redacted, told by a sixth


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    shutil.copytree(OLD, folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


def test_an_old_log_verifies_as_it_is(old: Path) -> None:
    found = verify(old)
    assert (found.last, found.checkpoint, found.redacted, found.unproven) == (6, 6, (2,), (2,))
    whole = [record for record in Reader(old).backwards() if obstacle(record) is None]
    assert [record.seq for record in whole] == [5, 4, 3, 1]


def test_an_old_log_goes_on_in_the_new_form(old: Path) -> None:
    vault = Vault(old)
    vault.open()
    write(vault, "new", "Hello")
    write(vault, "newer", "Hello")
    vault.close()
    assert verify(old).last == 8
    redact(old, 5)  # the last but one of the old lines
    redact(old, 7)
    found = verify(old)
    assert (found.redacted, found.unproven) == ((2, 5, 7), (2, 5))
    assert "prev_redacted" not in lines(old)[5]
    assert "prev_redacted" in lines(old)[6]


def test_an_old_line_is_no_longer_taken_behind_a_new_one(old: Path) -> None:
    vault = Vault(old)
    vault.open()
    write(vault, "new", "Hello")
    vault.close()
    line = (old / "log.jsonl").read_bytes().splitlines()[-1]
    fields = {"timestamp": now(), "prompt": "a", "response": "b", "salt": "0" * 32, "id": "x"}
    with open(old / "log.jsonl", "ab") as file:
        file.write(dump(fields)[:-1] + link(8, line_hash(line), None) + b"\n")
    with pytest.raises(ChainBroken, match="record 8 does not name the redacted form of record 7"):
        verify(old)
    with pytest.raises(ChainBroken):
        Vault(old).open()


def test_an_old_record_that_is_called_redacted_holds_no_text(old: Path) -> None:
    data = (old / "log.jsonl").read_bytes().splitlines()
    form = Record.parse(redacted_form(data[2], line_hash(data[2]))).fields
    timestamp, redacted = form["timestamp"], form["redacted"]
    dressed = {"timestamp": timestamp, "redacted": redacted, "prompt": "other words", **form}
    data[2] = dump(dressed)
    told = {"timestamp": now(), "redacts": 3, "was": redacted["was"], "now": line_hash(data[2])}
    data.append(dump(told)[:-1] + link(7, line_hash(data[5]), None))
    (old / "log.jsonl").write_bytes(b"".join(line + b"\n" for line in data))
    with pytest.raises(ChainBroken, match="record 3 is called redacted, and holds a text"):
        verify(old)
