"""Redaction: the text is in no file any more, and the chain says so."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from minivault.errors import ChainBroken, NotFound
from minivault.vault import Vault
from minivault.vault import redact as redacting
from minivault.vault.reader import Reader
from minivault.vault.record import line_hash
from minivault.vault.redact import redact
from minivault.vault.redacted import redacted_form
from minivault.vault.replay import obstacle
from minivault.vault.verify import check_receipt, verify
from tests.vault.samples import begin, outcome, write


def _everything(folder: Path) -> bytes:
    return b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    )


def _log(folder: Path, count: int = 3, **options: int) -> None:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    for number in range(1, count + 1):
        write(vault, f"g{number}", f"canary {number}.", f"answer {number}.")
    vault.close()


def test_the_text_and_the_salt_are_gone_and_the_log_still_verifies(tmp_path: Path) -> None:
    _log(tmp_path)
    salt = Reader(tmp_path).get(2).fields["salt"]
    was = Reader(tmp_path).get(2).hash
    receipt = redact(tmp_path, 2).receipts[2]
    assert receipt.seq == 4
    everything = _everything(tmp_path)
    for gone in ("canary 2.", "answer 2.", salt):
        assert gone.encode() not in everything
    assert b"canary 1." in everything
    redacted, told = Reader(tmp_path).get(2), Reader(tmp_path).get(4)
    assert redacted.fields["redacted"] == {"was": was}
    assert redacted.id == "g2"
    assert {name: told.fields[name] for name in ("redacts", "was", "now")} == {
        "redacts": 2,
        "was": was,
        "now": redacted.hash,
    }
    found = verify(tmp_path)
    assert (found.redacted, found.last) == ((2,), 4)
    check_receipt(tmp_path, receipt.model_copy(update={"seq": 2, "hash": was}))
    assert obstacle(redacted) == "its text was redacted"


def test_a_redaction_without_its_record_is_a_change(tmp_path: Path) -> None:
    _log(tmp_path)
    path = tmp_path / "log.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[1] = redacted_form(lines[1], line_hash(lines[1]))
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ChainBroken, match="record 2 was redacted, and no record says so"):
        verify(tmp_path)


def test_what_a_redaction_left_cannot_be_changed_either(tmp_path: Path) -> None:
    _log(tmp_path)
    redact(tmp_path, 2)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id":"g2"', b'"id":"g3"', 1))
    with pytest.raises(ChainBroken):
        verify(tmp_path)


def test_records_in_rotated_and_compressed_files_are_redacted_too(tmp_path: Path) -> None:
    _log(tmp_path, 12, max_bytes=2000)
    oldest = sorted(tmp_path.glob("log-*.jsonl"))[0]
    packed = oldest.with_name(f"{oldest.name}.gz")
    packed.write_bytes(gzip.compress(oldest.read_bytes()))
    packed.chmod(0o600)
    oldest.unlink()
    redact(tmp_path, 1)
    redact(tmp_path, 5)
    everything = _everything(tmp_path)
    assert b"canary 1." not in everything
    assert b"canary 5." not in everything
    assert verify(tmp_path).redacted == (1, 5)
    assert packed.stat().st_mode & 0o777 == 0o600


def test_a_running_server_goes_on_and_its_journal_is_cleaned(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    held = vault.begin(begin("held", "still open")).result(60)  # keeps the journal from emptying
    write(vault, "a", "canary one", "canary one said")
    assert b"canary" in next(tmp_path.glob("inflight-*")).read_bytes()
    (tmp_path / "log.jsonl.torn-1").write_bytes((tmp_path / "log.jsonl").read_bytes()[:-20])
    (tmp_path / "log.jsonl.torn-1").chmod(0o600)
    redact(tmp_path, 1)
    assert b"canary" not in _everything(tmp_path)
    vault.pieces([(held, "yes")])
    write(vault, "b")
    vault.commit(held, outcome("yes")).result(60)
    vault.close()
    assert Vault(tmp_path).open() == 0
    found = verify(tmp_path)
    assert (found.records, found.redacted) == (4, (1,))


def test_an_unfinished_redaction_is_told_and_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(redacting, "rewrite", crash)
        with pytest.raises(KeyboardInterrupt):
            redact(tmp_path, 2)
    assert verify(tmp_path).unfinished == (2,)
    assert redact(tmp_path, 2).receipts[2].seq == 4
    found = verify(tmp_path)
    assert (found.unfinished, found.redacted, found.last) == ((), (2,), 4)


def test_what_cannot_be_redacted_is_refused(tmp_path: Path) -> None:
    _log(tmp_path)
    redact(tmp_path, 1)
    for seq, reason in ((1, "redacted already"), (4, "tells of a redaction"), (9, "no record 9")):
        with pytest.raises(NotFound, match=reason):
            redact(tmp_path, seq)
    assert verify(tmp_path).last == 4


def test_conversations_and_log_probabilities_hold_text_too(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    messages = [{"role": "user", "content": "canary"}]
    entry = vault.begin(begin("a", "canary", messages=messages)).result(60)
    vault.commit(entry, outcome("canary", logprobs=["canary"])).result(60)
    vault.close()
    redact(tmp_path, 1)
    assert b"canary" not in _everything(tmp_path)
