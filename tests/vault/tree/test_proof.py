"""Proofs in files: made, checked without the log, refused when a bit is wrong; also by Go's."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import ChainBroken, InvalidRequest, MiniVaultError, NotFound
from minivault.vault import Outcome, Vault
from minivault.vault.reader import Reader
from minivault.vault.redact import redact
from minivault.vault.signing import BadCheckpoint, load_public_key, verifier_key, write_keys
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import BadProof, Growth, Inclusion, head_of, prove, prove_growth
from tests import test_cli_logs
from tests.test_cli_logs import _say, run
from tests.tools import FULL
from tests.vault.tree.signed_log import GOLDEN, ORIGIN, golden, write_key, write_log
from tests.vault.tree.test_log_tree import flip, grow

KEY = GOLDEN / "key.pub"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the signed log, the same when it was shorter, and the key."""
    folder = tmp_path_factory.mktemp("signed")
    write_key(folder / "key")
    write_log(folder / "logs", folder / "key")
    write_log(folder / "older", folder / "key", records=100)
    return folder


def test_proofs_are_the_same_as_ever(place: Path) -> None:
    """A change here makes proofs that others keep something else: it needs a new form of them."""
    made = golden(place / "logs", place / "older")
    assert made == {name: (GOLDEN / name).read_bytes() for name in made}


def test_a_record_is_proven_without_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", GOLDEN / "17.tlog-proof", "--public-key", KEY) == 0
    told = capsys.readouterr().out
    assert "record 17 of the log" in told
    assert "Tale 17" in told
    assert "the holder of the key has signed that tree" in told
    assert "not proven:" in told
    assert run("check", GOLDEN / "300-hash.tlog-proof", "--public-key", KEY, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["seq"], found["record"]) == (True, 300, None)
    assert found["log"] == f"{ORIGIN}/tree-from-1"


def test_a_proof_holds_its_record_and_nothing_of_another(place: Path, tmp_path: Path) -> None:
    assert run("prove", 17, "-o", tmp_path / "17", folder=place / "logs") == 0
    proof = Inclusion.parse((tmp_path / "17").read_bytes())
    assert proof.line == list(Reader(place / "logs").forwards())[16]
    assert proof.record
    assert proof.record.prompt == "Tale 17"
    assert b"Tale" not in prove(place / "logs", 17, hash_only=True).dump()
    assert (tmp_path / "17").stat().st_mode & 0o777 == 0o600


def test_every_record_can_be_proven(place: Path) -> None:
    key = load_public_key(KEY)
    for seq in range(1, 301, 1 if FULL else 23):
        Inclusion.parse(prove(place / "logs", seq).dump()).require(key)
    for seq in (301, 10**9):
        with pytest.raises(NotFound, match="the tree has the records 1 to 300"):
            prove(place / "logs", seq)


@pytest.mark.parametrize("name", ["17.tlog-proof", "300-hash.tlog-proof", "growth"])
def test_every_flipped_bit_of_a_proof_is_seen(name: str) -> None:
    data, key = (GOLDEN / name).read_bytes(), load_public_key(KEY)
    older = TreeHead.parse((GOLDEN / "older-checkpoint").read_bytes())

    def check(proof: bytes) -> None:
        if name == "growth":
            Growth.parse(proof).require(older, key)
        else:
            Inclusion.parse(proof).require(key)

    check(data)
    for bit in range(0, 8 * len(data), 1 if FULL else 5):
        with pytest.raises((BadProof, BadCheckpoint)):
            check(flip(data, bit))
    for cut in (0, 1, 30, len(data) // 2, len(data) - 1):
        with pytest.raises((BadProof, BadCheckpoint)):
            check(data[:cut])
    with pytest.raises((BadProof, BadCheckpoint)):
        check(data + b"\n")


def test_a_key_or_a_checkpoint_is_needed_and_must_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = GOLDEN / "17.tlog-proof"
    with pytest.raises(InvalidRequest, match="key"):
        run("check", proof)
    assert run("check", proof, "--checkpoint", GOLDEN / "checkpoint") == 0
    assert "who made the log" in capsys.readouterr().out
    with pytest.raises(BadProof, match="another checkpoint"):
        run("check", proof, "--checkpoint", GOLDEN / "older-checkpoint")
    write_keys(tmp_path / "key", tmp_path / "key.pub")
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        run("check", proof, "--public-key", tmp_path / "key.pub")
    other = tmp_path / "other"
    other.write_bytes(proof.read_bytes().replace(b"index 16", b"index 15"))
    with pytest.raises(MiniVaultError):
        run("check", other, "--public-key", KEY)


def test_a_line_that_stands_elsewhere_than_it_says_is_no_proof(tmp_path: Path) -> None:
    """As one that was copied to another place by who makes the tree."""
    proof = prove_in_a_tree_of_one(tmp_path)
    with pytest.raises(BadProof, match="another number than its place"):
        proof.require(None)


def prove_in_a_tree_of_one(folder: Path) -> Inclusion:
    from minivault.merkle import leaf

    line = Inclusion.parse((GOLDEN / "17.tlog-proof").read_bytes()).line
    assert line
    proof = Inclusion.parse((GOLDEN / "17.tlog-proof").read_bytes())
    head = TreeHead(proof.head.origin, 1, leaf(bytes.fromhex(proof.digest)))
    return Inclusion(line, proof.digest, 0, [], head)


def test_of_a_redacted_record_its_hash_is_proven(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(place / "logs", tmp_path / "logs"))
    before = prove(folder, 17)
    redact(folder, 17, signing_key=place / "key")
    assert run("prove", 17, "-o", tmp_path / "17", folder=folder) == 0
    assert "its hash alone" in capsys.readouterr().err
    after = Inclusion.parse((tmp_path / "17").read_bytes())
    assert (after.line, after.digest) == (None, before.digest)
    after.require(load_public_key(KEY))


def test_records_that_retention_removed_are_proven_by_their_hash(tmp_path: Path) -> None:
    grow(tmp_path, 12, max_bytes=1500, keep_files=1)
    assert Reader(tmp_path).segments()[0].first > 1
    proof = prove(tmp_path, 1)
    assert proof.line is None
    assert prove(tmp_path, 12).line


def test_a_damaged_tree_proves_nothing(place: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(place / "logs", tmp_path / "logs"))
    path = folder / "tree/tile/0/000"
    path.write_bytes(flip(path.read_bytes(), 8 * 32 * 20))
    with pytest.raises(ChainBroken, match="the tree is damaged"):
        prove(folder, 17)
    assert prove(folder, 300)


def test_growth_is_proven_between_any_two_checkpoints(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, kept = place / "older/tree/checkpoint", tmp_path / "proof"
    named = ["--public-key", KEY, "-o", kept]
    assert run("consistency", older, *named, folder=place / "logs") == 0
    assert "the first 100 are as they were" in capsys.readouterr().err
    assert kept.read_bytes() == (GOLDEN / "growth").read_bytes()
    assert run("check", kept, "--checkpoint", older, "--public-key", KEY) == 0
    assert "none changed, removed or put between" in capsys.readouterr().out
    with pytest.raises(InvalidRequest, match="older one"):
        run("check", kept, "--public-key", KEY)
    with pytest.raises(BadProof, match="from 100 records, not from 300"):
        run("check", kept, "--checkpoint", place / "logs/tree/checkpoint", "--public-key", KEY)
    same = [older, older]
    assert run("consistency", *same, folder=place / "logs") == 0


def test_growth_is_shown_of_one_log_from_a_checkpoint_that_it_signed(place: Path) -> None:
    key, old = load_public_key(KEY), head_of(place / "older")
    growth = prove_growth(place / "logs", old)
    growth.require(old, key)
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        growth.require(replace(old, signatures=""), key)
    with pytest.raises(BadProof, match="they are two logs"):
        growth.require(replace(old, origin="minivault/other/tree-from-1"), None)


def test_a_signature_is_written_in_one_way_alone(place: Path) -> None:
    """Else two files would be one checkpoint: base 64 has bits to spare."""
    head = head_of(place / "older")
    head.require_signed(load_public_key(KEY))
    assert head.signatures.endswith("=\n")
    last = head.signatures[-3]
    spare = chr(ord(last) + 1)  # the same bytes, as a careless reader reads them
    other = f"{head.signatures[:-3]}{spare}=\n"
    assert base64.b64decode(other.split(" ")[2]) == base64.b64decode(head.signatures.split(" ")[2])
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        replace(head, signatures=other).require_signed(load_public_key(KEY))


def test_a_line_that_is_not_the_one_of_the_tree_is_not_proven(place: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(place / "older", tmp_path / "logs"))
    file = folder / "log.jsonl"
    file.write_bytes(file.read_bytes().replace(b"Tale 4", b"Lies 4"))
    with pytest.raises(ChainBroken, match="another record 4 than the log"):
        prove(folder, 4)
    assert prove(folder, 5)


def test_two_logs_of_one_beginning_did_not_grow_from_each_other(tmp_path: Path) -> None:
    folder, other = tmp_path / "logs", tmp_path / "other"
    grow(folder, 5)
    shutil.copytree(folder, other)
    grow(folder, 2, "one")
    grow(other, 3, "two")
    assert prove_growth(other, head_of(other))
    with pytest.raises(BadProof, match="did not grow"):
        prove_growth(other, head_of(folder))
    with pytest.raises(BadProof, match="no tree of 8 records"):
        prove_growth(folder, head_of(other))


def test_a_record_is_replayed_out_of_its_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    _say_once(folder)
    run("prove", 1, "-o", tmp_path / "1", folder=folder)
    run("prove", 1, "--hash-only", "-o", tmp_path / "hash", folder=folder)
    shutil.rmtree(folder)
    assert run("replay", "--from", tmp_path / "1") == 0
    assert "record 1 is the same" in capsys.readouterr().out
    with pytest.raises(BadProof, match="not the record"):
        run("replay", "--from", tmp_path / "hash")
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        run("replay", "--from", tmp_path / "1", "--public-key", KEY)
    data = (tmp_path / "1").read_bytes()
    extra = data.split(b"\n")[1].removeprefix(b"extra ")
    changed = base64.b64encode(base64.b64decode(extra).replace(b"one", b"two"))
    (tmp_path / "1").write_bytes(data.replace(extra, changed))
    with pytest.raises(BadProof):
        run("replay", "--from", tmp_path / "1")
    with pytest.raises(InvalidRequest, match="--from"):
        run("replay", "1", "--from", tmp_path / "1")


def _say_once(folder: Path) -> None:
    vault = Vault(folder)
    vault.open()
    _say(vault, 3)
    vault.close()


def test_a_text_that_the_model_did_not_say_differs_though_its_proof_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator made up: signed, in the tree, and not what the model makes of it."""

    def lie(said: str, *more: Any) -> Outcome:
        return Outcome(said.replace("two", "owl"), *more)

    monkeypatch.setattr(test_cli_logs, "Outcome", lie)
    _say_once(tmp_path / "logs")
    run("prove", 1, "-o", tmp_path / "1", folder=tmp_path / "logs")
    shutil.rmtree(tmp_path / "logs")
    assert run("replay", "--from", tmp_path / "1") == 1
    assert re.search(r"record 1 differs from character \d+ on", capsys.readouterr().out)
    assert run("replay", "--from", tmp_path / "1", "--json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "differs"


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program over Go's golang.org/x/mod/sumdb (Debian: golang-golang-x-mod-dev)."""
    go = shutil.which("go")
    if not go:
        pytest.skip("go is not installed; the golden files are what it found good")
    folder = tmp_path_factory.mktemp("go")
    places = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
    command = [
        go,
        "build",
        "-o",
        str(folder / "verify"),
        str(Path(__file__).with_name("verify.go")),
    ]
    built = subprocess.run(
        command, env=os.environ | places, capture_output=True, text=True, check=False, cwd=folder
    )
    if "cannot find package" in built.stderr:
        pytest.skip("golang.org/x/mod is not installed")
    assert built.returncode == 0, built.stderr
    return folder / "verify"


@pytest.mark.slow
def test_gos_own_tools_find_the_tree_and_the_proofs_good(
    verifier: Path, place: Path, tmp_path: Path
) -> None:
    key = verifier_key(f"{ORIGIN}/tree-from-1", load_public_key(KEY))
    tree, older = place / "logs/tree", place / "older/tree/checkpoint"
    proofs = sorted(GOLDEN.glob("*.tlog-proof"))

    def verified(*files: Path) -> subprocess.CompletedProcess[str]:
        command = [str(each) for each in (verifier, tree, key, *files)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = verified(older, *proofs)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "tree of 300 grew from 100",
        "record 17 of 300 is proven",
        "record 257 of 300 is proven",
        "record 300 of 300 is proven",
    ]
    chance, wrong = random.Random(7), tmp_path / "wrong"
    for proof in proofs:
        data = proof.read_bytes()
        wrong.write_bytes(flip(data, chance.randrange(8 * 100, 8 * (len(data) - 1))))
        assert verified(older, wrong).returncode != 0
