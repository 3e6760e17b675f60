"""Witnesses: over HTTP, for logs that grew and logs that did not; signatures of both kinds."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minivault.cli.witness import served
from minivault.errors import CannotStart, InvalidRequest
from minivault.vault.signing import (
    BadCheckpoint,
    Signer,
    load_public_key,
    parse_verifier_key,
    verifier_key,
    write_keys,
)
from minivault.vault.tree import witness as witness_module
from minivault.vault.tree.cosignature import ML_DSA_44, WitnessKey, cosign, key_of
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import BadProof, Growth, Inclusion, head_of, prove, prove_growth
from minivault.vault.tree.witness import NotWitnessed, Witness, ask
from tests.test_cli_logs import run
from tests.vault.tree.signed_log import GOLDEN, ORIGIN, write_key, write_log
from tests.vault.tree.test_log_tree import flip, grow

KEY, NAME = GOLDEN / "key.pub", "example.org/witness"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_key(tmp_path / "key")
    write_log(tmp_path / "logs", tmp_path / "key", records=20)
    return tmp_path / "logs"


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    write_keys(tmp_path / "witness.key", tmp_path / "witness.key.pub")
    known = {f"{ORIGIN}/tree-from-1": load_public_key(KEY)}
    return Witness(NAME, Signer.load(tmp_path / "witness.key"), known, tmp_path / "state")


@pytest.fixture
def key(witness: Witness, tmp_path: Path) -> WitnessKey:
    return key_of(NAME, Signer.load(tmp_path / "witness.key"))


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    with served(witness, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_witness_signs_a_log_as_it_grows_and_proofs_carry_it(
    logs: Path,
    url: str,
    key: WitnessKey,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ask(logs, url, key).size == 20
    assert ask(logs, url, key).size == 20  # the same once more
    grow(logs, 2, signing_key=tmp_path / "key")
    assert run("ask-witness", url, "--witness", key, folder=logs) == 0
    assert "has seen the records 1 to 22" in capsys.readouterr().out
    grow(logs, 1, "later", signing_key=tmp_path / "key")
    run("prove", 21, "-o", tmp_path / "21", folder=logs)
    named = ["--public-key", KEY, "--witness", key, "--json"]
    assert run("check", tmp_path / "21", *named) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == 22
    assert any(f"the witness {NAME} saw that tree at 20" in each for each in found["proven"])
    assert not any("another log" in each for each in found["not_proven"])
    run("prove", 23, "-o", tmp_path / "23", folder=logs)  # no witness has seen that one yet
    with pytest.raises(BadProof, match="has not signed this tree"):
        run("check", tmp_path / "23", *named[:-1])
    (logs / "tree" / "witnessed").unlink()  # the witness tells what it knows
    assert ask(logs, url, key).size == 23


def test_a_log_that_was_written_anew_is_not_signed(
    logs: Path, url: str, key: WitnessKey, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(logs, before)
    grow(logs, 3, "one", signing_key=tmp_path / "key")
    grow(before, 5, "two", signing_key=tmp_path / "key")
    assert ask(logs, url, key).size == 23
    with pytest.raises(NotWitnessed, match="did not grow"):
        ask(before, url, key)
    write_log(tmp_path / "short", tmp_path / "key", records=5)
    with pytest.raises(NotWitnessed, match="a longer log of this name, of 23 records"):
        ask(tmp_path / "short", url, key)


def test_what_a_witness_refuses(witness: Witness, logs: Path, tmp_path: Path) -> None:
    good = Growth(0, [], head_of(logs))
    assert witness.add_checkpoint(b"nonsense").status == 400
    unknown = TreeHead("other/tree-from-1", 1, bytes(32)).signed(Signer.load(tmp_path / "key"))
    assert witness.add_checkpoint(Growth(0, [], unknown).dump()).status == 404
    unsigned = replace(good.head, signatures="")
    assert witness.add_checkpoint(replace(good, head=unsigned).dump()).status == 403
    assert witness.add_checkpoint(replace(good, old=21).dump()).status == 400
    known = witness.add_checkpoint(replace(good, old=3).dump())
    assert (known.status, known.body, known.kind) == (409, "0\n", "text/x.tlog.size")
    assert witness.add_checkpoint(replace(good, hashes=[bytes(32)]).dump()).status == 422
    assert witness.add_checkpoint(good.dump()).status == 200
    assert witness.add_checkpoint(good.dump()).body == "20\n"
    signer = Signer.load(tmp_path / "key")
    other = Growth(20, [], TreeHead(good.head.origin, 20, bytes(32)).signed(signer))
    known = witness.add_checkpoint(other.dump())  # as many records, and others
    assert (known.status, known.body) == (409, "20\n")
    again = witness.add_checkpoint(prove_growth(logs, good.head).dump())
    assert again.status == 200


def test_who_signs_goes_on_from_a_signed_tree_alone(logs: Path, tmp_path: Path) -> None:
    bare = replace(head_of(logs), signatures="")
    (logs / "tree" / "checkpoint").write_bytes(bare.note)
    with pytest.raises(CannotStart, match="not signed with this key"):
        grow(logs, 1, signing_key=tmp_path / "key")


def test_what_cannot_be_witnessed_is_said(
    logs: Path, key: WitnessKey, tmp_path: Path, url: str
) -> None:
    with pytest.raises(NotWitnessed, match="does not answer"):
        ask(logs, "http://127.0.0.1:9", key)
    with pytest.raises(NotWitnessed, match="no address"):
        ask(logs, "file:///etc", key)
    with pytest.raises(NotWitnessed, match="not signed by other"):
        ask(logs, url, replace(key, name="other"))
    grow(tmp_path / "unsigned", 1)
    with pytest.raises(BadCheckpoint, match="signing-key"):
        ask(tmp_path / "unsigned", url, key)


@pytest.mark.parametrize("status", [200, 500])
def test_a_witness_that_drips_is_left_after_a_while(
    status: int, logs: Path, key: WitnessKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "_WAIT", 0.2)
    left = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 %d x\r\nContent-Length: 1000\r\n\r\n" % status)
            for _ in range(1000):
                connection.sendall(b"x")
                left.wait(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        with pytest.raises(NotWitnessed, match="does not answer: its answer takes too long"):
            ask(logs, f"http://127.0.0.1:{listener.getsockname()[1]}", key)
        left.set()
        thread.join()


@pytest.mark.parametrize("status", [200, 500])
def test_a_witness_that_falls_silent_in_its_answer_does_not_answer(
    status: int, logs: Path, key: WitnessKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "_WAIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = b"HTTP/1.1 %d x\r\nContent-Length: 9\r\n\r\nx" % status
        held: list[socket.socket] = []

        def say() -> None:
            held.append(listener.accept()[0])
            held[0].sendall(told)

        thread = threading.Thread(target=say)
        thread.start()
        with pytest.raises(NotWitnessed, match="does not answer"):
            ask(logs, f"http://127.0.0.1:{listener.getsockname()[1]}", key)
        thread.join()
        held[0].close()


def test_every_flipped_bit_of_a_cosignature_is_seen(key: WitnessKey, tmp_path: Path) -> None:
    head = Inclusion.parse((GOLDEN / "17.tlog-proof").read_bytes()).head
    line = cosign(NAME, Signer.load(tmp_path / "witness.key"), head, 1_800_000_000)
    assert key.seen(replace(head, signatures=head.signatures + line)) == 1_800_000_000
    assert key.seen(replace(head, size=301, signatures=line)) is None
    data = base64.b64decode(line.split(" ")[2])
    for bit in range(0, 8 * len(data), 3):
        wrong = f"— {NAME} {base64.b64encode(flip(data, bit)).decode()}\n"
        assert key.seen(replace(head, signatures=wrong)) is None


def test_cosignatures_that_no_quantum_computer_breaks_are_checked_too() -> None:
    module = "cryptography.hazmat.primitives.asymmetric.mldsa"
    if os.environ.get("MINIVAULT_UNLOCKED"):  # older ones lack it
        pytest.importorskip(module)
    mldsa = importlib.import_module(module)
    private = mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    key = WitnessKey("w", ML_DSA_44, private.public_key().public_bytes_raw())
    head = Inclusion.parse((GOLDEN / "17.tlog-proof").read_bytes()).head
    origin = head.origin.encode()
    statement = b"subtree/v1\n\0" + b"\x01w" + (77).to_bytes(8) + bytes([len(origin)]) + origin
    statement += bytes(8) + (300).to_bytes(8) + head.root
    value = key.id + (77).to_bytes(8) + private.sign(statement)
    line = f"— w {base64.b64encode(value).decode()}\n"
    assert WitnessKey.parse(str(key)).seen(replace(head, signatures=line)) == 77
    wrong = f"— w {base64.b64encode(flip(value, 500)).decode()}\n"
    assert key.seen(replace(head, signatures=wrong)) is None


def test_keys_are_written_as_others_read_them(
    logs: Path, key: WitnessKey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verifier-key", "--public-key", KEY, folder=logs) == 0
    written = capsys.readouterr().out.strip()
    name, parsed = parse_verifier_key(written)
    assert verifier_key(name, parsed) == written
    assert WitnessKey.parse(str(key)) == key
    for wrong in ("", "a+b", str(key)[:-2], str(key).replace("+", "-"), written):
        with pytest.raises(InvalidRequest, match="witness's key"):
            WitnessKey.parse(wrong)
    assert prove(logs, 3).head.size == 20
