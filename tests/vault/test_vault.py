"""The vault as a whole: begin, pieces, commit, recovery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivault.errors import ChainBroken, LogUnavailable
from minivault.vault import Begin, Outcome, Vault
from minivault.vault.record import ORDER
from minivault.vault.verify import verify
from tests.vault.samples import begin, lines, outcome, write


def test_a_committed_record_is_one_line_with_the_fields_in_the_order_of_the_contract(
    tmp_path: Path,
) -> None:
    vault = Vault(tmp_path / "logs")
    assert vault.open() == 0
    entry = vault.begin(begin("a", prompt="Hello")).result(60)
    vault.pieces([(entry, " there")])
    receipt = vault.commit(entry, outcome(" there")).result(60)
    vault.close()
    (line,) = lines(tmp_path / "logs")
    names = list(line)
    assert names[:3] == ["timestamp", "prompt", "response"]
    assert names == [name for name in [*ORDER, "prev_redacted", "seq", "prev"] if name in names]
    assert (line["prompt"], line["response"], line["seq"]) == ("Hello", " there", 1)
    assert receipt.seq == 1
    assert verify(tmp_path / "logs").head == receipt.hash


def test_what_was_open_when_the_process_died_becomes_interrupted_exactly_once(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logs"
    vault = Vault(folder)
    vault.open()
    done = vault.begin(begin("done")).result(60)
    left = vault.begin(begin("left", prompt="Once")).result(60)
    vault.pieces([(left, " upon"), (done, "x")])
    vault.pieces([(left, " a\u2028time")])
    vault.commit(done, outcome("x")).result(60)
    vault.close()  # leaves the journal, as `left` is open
    again = Vault(folder)
    assert again.open() == 1
    again.close()
    third = Vault(folder)
    assert third.open() == 0
    third.close()
    records = lines(folder)
    assert [(each["id"], each["finish_reason"]) for each in records] == [
        ("done", "length"),
        ("left", "interrupted"),
    ]
    assert records[1]["response"] == " upon a\u2028time"
    assert records[1]["events"] == 4
    assert not [path for path in folder.iterdir() if path.name.startswith("inflight-")]


def test_a_generation_is_found_by_its_id_newest_first(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    write(vault, "first")
    write(vault, "other", prompt='a prompt that quotes "id":"first"')
    write(vault, "first", continues="first")
    found = vault.find("first")
    assert [record.seq for record in found] == [3, 1]
    assert found[0].fields["continues"] == "first"
    assert vault.find("nobody") == []
    vault.close()


def test_nothing_can_be_begun_or_committed_after_the_end(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a")).result(60)
    vault.close()
    with pytest.raises(LogUnavailable, match="closed"):
        vault.begin(begin("b")).result(60)
    with pytest.raises(LogUnavailable, match="closed"):
        vault.commit(entry, outcome("x")).result(60)


def test_a_writer_that_ends_before_anybody_waits_for_it_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path)
    vault.open()
    inbox, thread = vault._writer._inbox, vault._writer._thread
    close = inbox.close

    def slowly() -> bool:
        closed = close()
        thread.join()
        return closed

    monkeypatch.setattr(inbox, "close", slowly)
    vault.close()
    assert list(tmp_path.glob("inflight-*")) == []


def test_a_changed_line_keeps_the_vault_from_opening(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    for number in range(3):
        write(vault, f"g{number}", prompt="Hello")
    vault.close()
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Jello", 1))
    with pytest.raises(ChainBroken, match="record 1 was changed"):
        Vault(tmp_path).open()


def test_texts_that_are_not_stored_are_nowhere_in_the_folder(tmp_path: Path) -> None:
    vault = Vault(tmp_path, store_text=False, secret=b"s" * 32)
    vault.open()
    entry = vault.begin(begin("a", prompt="canary one")).result(60)
    vault.pieces([(entry, "canary two")])
    vault.begin(begin("b", prompt="canary three")).result(60)
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    vault.commit(entry, outcome("canary two")).result(60)
    vault.close()
    again = Vault(tmp_path, store_text=False, secret=b"s" * 32)
    assert again.open() == 1
    again.close()
    everything += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"canary" not in everything
    first, second = lines(tmp_path)
    assert first["prompt"] is None
    assert first["withheld"]["prompt"]["characters"] == len("canary one")
    assert second["finish_reason"] == "interrupted"
    assert json.dumps(first["withheld"]["prompt"]) != json.dumps(second["withheld"]["prompt"])


def test_the_same_begin_may_be_used_for_a_continuation(tmp_path: Path) -> None:
    shared = Begin("a", "p", {}, 1, "sse", {"name": "echo"}, {})
    vault = Vault(tmp_path)
    vault.open()
    first, second = vault.begin(shared).result(60), vault.begin(shared).result(60)
    ended = Outcome("r", "stop", {}, {}, 3)
    vault.commit(first, ended).result(60)
    vault.commit(second, ended).result(60)
    vault.close()
    salts = {line["salt"] for line in lines(tmp_path)}
    assert len(salts) == 2
