"""The commands that ship, gather and verify, and what doctor says; folders stand for buckets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from minivault.doctor import _publishing
from minivault.errors import CannotStart, ChainBroken, InvalidRequest, NotFound
from minivault.settings import Settings
from minivault.vault.reader import Reader
from minivault.vault.signing import BadCheckpoint, Signer, write_keys
from minivault.vault.tree.cosignature import key_of
from tests.test_cli_logs import run
from tests.vault.tree.signed_log import GOLDEN

PUBLIC = GOLDEN / "key.pub"


def test_a_log_is_shipped_gathered_and_verified_by_commands(
    signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = Path(shutil.copytree(signed / "logs", tmp_path / "logs"))
    hashes, texts, fleet = tmp_path / "hashes", tmp_path / "texts", tmp_path / "fleet"
    write_keys(fleet, tmp_path / "fleet.pub")
    with pytest.raises(NotFound, match="no log is published"):
        run("verify", "--from", hashes)
    buckets = ["--ship-hashes", hashes, "--ship-texts", texts.as_uri()]
    assert run("ship", *buckets, "--signing-key", signed / "key", folder=logs) == 0
    assert "has the records 1 to 300" in capsys.readouterr().out
    gather = ["gather", hashes, "--signing-key", fleet, "--public-key"]
    assert run(*gather, tmp_path / "fleet.pub") == 1  # not a key of the writer's
    assert "refused: the checkpoint of minivault/" in capsys.readouterr().err
    assert run(*gather, PUBLIC) == 0
    assert "1 new; the fleet's log knows 1 checkpoint" in capsys.readouterr().out
    keys = ["--public-key", PUBLIC, "--public-key", tmp_path / "fleet.pub"]
    assert run("verify", "--from", hashes, "--texts", texts, *keys) == 0
    told = capsys.readouterr()
    assert "the records 1 to 300; 300 with their lines, 0 of them redacted; 1 " in told.out
    assert (told.out.splitlines()[-1], told.err) == (
        "ok: what is published is whole: 1 log; the fleet's log knows 1 checkpoint",
        "",
    )
    assert run("verify", "--from", hashes) == 0
    assert "public keys of the writers" in capsys.readouterr().err
    assert run("verify", "--from", hashes, "--json", *keys) == 0
    assert json.loads(capsys.readouterr().out)["logs"][0]["last"] == 300


def test_what_is_wrong_with_what_is_published_ends_with_an_error(
    signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = Path(shutil.copytree(signed / "logs", tmp_path / "logs"))
    run("ship", "--ship-hashes", tmp_path / "b", "--signing-key", signed / "key", folder=logs)
    write_keys(tmp_path / "k", tmp_path / "k.pub")
    with pytest.raises(BadCheckpoint, match="not signed with a key given"):
        run("verify", "--from", tmp_path / "b", "--public-key", tmp_path / "k.pub")
    [tile] = (tmp_path / "b").rglob("tile/0/000")
    tile.write_bytes(bytes(len(tile.read_bytes())))
    with pytest.raises(ChainBroken, match="tile/0/000 is not made of the entries"):
        run("verify", "--from", tmp_path / "b")
    capsys.readouterr()
    assert run("verify", "--from", tmp_path / "b", "--json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    for words in (["--texts", "t"], ["--public-key", PUBLIC, "--public-key", PUBLIC]):
        with pytest.raises(InvalidRequest):
            run("verify", *words, folder=logs)
    with pytest.raises(InvalidRequest, match="does not go with --from"):
        run("verify", "--from", "b", "--checkpoint", logs / "tree" / "checkpoint")


def test_doctor_says_what_buckets_and_witnesses_lack(signed: Path, tmp_path: Path) -> None:
    logs, key = tmp_path / "logs", signed / "key"
    fresh = shutil.ignore_patterns("shipped")  # other tests ship the same log
    shutil.copytree(signed / "logs", logs, ignore=fresh)
    witness = f"http://127.0.0.1:9#{key_of('w.example', Signer.load(key))}"
    settings = Settings(
        logs_dir=logs, signing_key=key, ship_hashes=str(tmp_path / "b"), witness=[witness]
    )
    bucket, asked = _publishing(settings)
    assert (bucket.verdict, asked.verdict) == ("good", "costs")
    assert "has the log up to record 0 of 300, and answers" in bucket.text
    assert "up to record 0 of 300) lacks w.example" in asked.text
    run("ship", "--ship-hashes", tmp_path / "b", "--signing-key", key, folder=logs)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").write_text("")
    bucket, _ = _publishing(settings)
    assert bucket.verdict == "costs"
    assert "has the log up to record 300 of 300: " in bucket.text
    offline = settings.model_copy(update={"offline": True})
    with pytest.raises(CannotStart, match="--offline opens no connection"):
        list(_publishing(offline))
    with pytest.raises(CannotStart, match="--witness needs --signing-key"):
        list(_publishing(Settings(logs_dir=logs, witness=[witness])))


def test_doctor_reads_no_log_for_what_is_not_published(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Reader, "last_seq")
    assert list(_publishing(Settings(logs_dir=signed / "logs"))) == []
