"""A server that ships its log and asks witnesses; buckets and witnesses that are away or wrong."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minivault.cli.witness import served
from minivault.errors import CannotStart, InvalidRequest
from minivault.service import Service
from minivault.settings import Settings
from minivault.vault.publishing import publisher as publisher_module
from minivault.vault.publishing import shipping
from minivault.vault.publishing.bucket import FolderBucket
from minivault.vault.publishing.inspection import inspect
from minivault.vault.publishing.publisher import Party, Publisher
from minivault.vault.publishing.tile_log import Overtaken
from minivault.vault.signing import Signer, write_keys
from minivault.vault.tree.cosignature import ED25519, WitnessKey, key_of
from minivault.vault.tree.proof import head_of, prove, witnessed
from minivault.vault.tree.witness import Witness, WitnessAt
from tests.live import LiveServer, live_server, wait_for
from tests.vault.publishing.conftest import KEY, Writer
from tests.vault.tree.signed_log import ORIGIN
from tests.web.asking import JSON, ask

SOON: dict[str, Any] = {"ship_every": 0.1, "witness_every": 0.1}


@pytest.fixture
def place(signed: Path, tmp_path: Path) -> Path:
    """A signed log that nobody else writes."""
    return Path(shutil.copytree(signed, tmp_path / "place"))


def say(server: LiveServer) -> int:
    """A generation; returns its record's number."""
    body = {"prompt": "a b c", "max_tokens": 2}
    answer = ask(server, "POST", "/generate", JSON, json=body)
    assert answer.status_code == 200
    seq: int = answer.json()["receipt"]["seq"]
    return seq


def health(server: LiveServer) -> dict[str, Any]:
    data: dict[str, Any] = ask(server, "GET", "/health").json()
    return data


def gauge(server: LiveServer, name: str) -> float:
    found = re.search(rf"^minivault_vault_{name} (\S+)$", ask(server, "GET", "/metrics").text, re.M)
    assert found, name
    return float(found[1])


def test_a_server_ships_and_goes_on_while_the_bucket_is_away(place: Path, tmp_path: Path) -> None:
    hashes, texts = tmp_path / "hashes", tmp_path / "texts"
    shipped: dict[str, Any] = {"signing_key": place / "key", "ship_hashes": hashes.as_uri()}
    with live_server(place, **shipped, ship_texts=str(texts), **SOON) as server:
        seq = say(server)
        wait_for(lambda: health(server)["log"]["shipping"]["seq"] == seq)
        assert (gauge(server, "unshipped"), gauge(server, "unshipped_seconds")) == (0, 0)
        hashes.rename(tmp_path / "elsewhere")
        hashes.write_text("no folder")
        seq = say(server)
        wait_for(lambda: health(server)["log"]["shipping"]["problem"])
        data = health(server)
        assert data["status"] == "ready"
        told = data["log"]["shipping"]
        assert (told["name"], told["behind"]) == (hashes.as_uri(), 1)
        assert "Not a directory" in told["problem"]
        assert any("has the log up to record 301" in each for each in data["warnings"])
        assert gauge(server, "unshipped") == 1
        assert gauge(server, "unshipped_seconds") > 0
        hashes.unlink()
        (tmp_path / "elsewhere").rename(hashes)
        wait_for(lambda: health(server)["log"]["shipping"]["seq"] == seq)
        assert health(server)["log"]["shipping"]["problem"] is None
        seq = say(server)
    [found] = inspect(FolderBucket(hashes), FolderBucket(texts), [KEY]).logs
    assert (found.last, found.texts) == (seq, seq), "what was left is shipped at the end"


def test_what_a_start_finds_wrong_is_told_where_people_look(place: Path, tmp_path: Path) -> None:
    shipped: dict[str, Any] = {"signing_key": place / "key", "ship_hashes": str(tmp_path / "h")}
    shutil.copytree(place / "logs", tmp_path / "before")
    with live_server(place, **shipped, **SOON) as server:
        say(server)
    (tmp_path / "h").rename(tmp_path / "away")
    (tmp_path / "h").write_text("no folder")
    with live_server(place, **shipped, **SOON) as server:
        wait_for(lambda: health(server)["log"]["shipping"]["problem"])
        assert health(server)["log"]["shipping"]["seq"] == 301, "as it was noted here"
    (tmp_path / "h").unlink()
    (tmp_path / "away").rename(tmp_path / "h")
    shutil.rmtree(place / "logs")
    shutil.copytree(tmp_path / "before", place / "logs")
    with live_server(place, **shipped, **SOON) as server:
        wait_for(lambda: health(server)["log"]["shipping"]["problem"])
        assert "301 records are published, and here are 300" in str(health(server)["warnings"])
        assert say(server) == 301


def test_while_another_server_ships_only_its_last_number_is_taken_over(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    publisher = Publisher(writer.logs, writer.shipping)
    bucket = publisher._bucket
    assert bucket is not None
    bucket.problem, bucket.level = "away", 1.0
    writer.shipping.ship()
    with shipping._alone(writer.logs):
        publisher._ship()
    assert (bucket.seq, bucket.problem, bucket.level) == (300, "away", 1.0)
    assert "has all again" not in caplog.text
    publisher._ship()
    assert bucket.problem is None
    assert bucket.level > 1.0


def test_who_is_overtaken_every_time_is_told() -> None:
    party = Party("b", "bucket")

    def overtaken() -> None:
        raise Overtaken("another one published meanwhile")

    for _ in range(2):
        party.give(overtaken)
        party.give(overtaken)
        assert party.problem is None
        party.give(lambda: None)
    for _ in range(3):
        party.give(overtaken)
    assert party.problem == "another one published meanwhile"


def test_whatever_goes_wrong_with_all_witnesses_is_told_and_the_thread_goes_on(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(logs: Path) -> None:
        raise ValueError("what nobody thought of")

    monkeypatch.setattr(publisher_module, "signed_head", wrong)
    key = WitnessKey("w", ED25519, bytes(32))
    publisher = Publisher(writer.logs, None, [WitnessAt("http://w", key)])
    publisher._ask()
    assert publisher.witnesses(300)[0].problem == "ValueError: what nobody thought of"


@pytest.mark.parametrize("is_away", ["witness", "bucket"])
def test_what_is_away_costs_others_no_last_time(
    is_away: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = WitnessKey("w", ED25519, bytes(32))
    publisher = Publisher(
        writer.logs, writer.shipping, [WitnessAt("http://w", key)], ship_every=600
    )
    monkeypatch.setattr(publisher, "_ship", lambda: done.append("bucket"))
    monkeypatch.setattr(publisher, "_ask", lambda: done.append("witness"))
    done: list[str] = []
    publisher.start()
    wait_for(lambda: len(done) == 2)
    done.clear()
    assert publisher._bucket is not None
    away = publisher._bucket if is_away == "bucket" else publisher._asked[0][1]
    away.problem = "away"
    publisher.close()
    assert done == [{"witness": "bucket", "bucket": "witness"}[is_away]]


class Asked:
    """A witness that is served, and how often it is asked."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        write_keys(folder / "key", folder / "key.pub")
        signer = Signer.load(folder / "key")
        self.key = key_of(name, signer)
        self.witness = Witness(name, signer, {f"{ORIGIN}/tree-from-1": KEY}, folder / "state")
        self.url = ""

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[str]:
        with served(self.witness, "127.0.0.1", port) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}#{self.key}"
            finally:
                server.shutdown()
                thread.join()


def test_a_server_asks_its_witnesses_and_says_which_is_behind(place: Path, tmp_path: Path) -> None:
    one, other = Asked(tmp_path / "one", "one"), Asked(tmp_path / "other", "other")
    options: dict[str, Any] = {"signing_key": place / "key", **SOON}
    with one.listening() as first, other.listening() as second:
        port = int(second.split(":")[2].split("#")[0])
        with live_server(place, witness=[first, second], **options) as server:
            seq = say(server)
            wait_for(lambda: [each["seq"] for each in witnesses(server)] == [seq, seq])
            assert gauge(server, "unwitnessed") == 0
            tree = ask(server, "GET", "/logs/tree").json()
            assert [each["name"] for each in tree["witnesses"]] == ["one", "other"]
            proof = prove(place / "logs", seq)
            assert one.key.seen(proof.head)
            assert other.key.seen(proof.head)
    again = one.listening(int(first.split(":")[2].split("#")[0]))
    with again, live_server(place, witness=[first, second], **options) as server:
        seq = say(server)
        wait_for(lambda: witnesses(server)[0]["seq"] == seq)
        wait_for(lambda: witnesses(server)[1]["problem"])
        assert "does not answer" in witnesses(server)[1]["problem"]
        assert gauge(server, "unwitnessed") >= 1
        assert "the witness other" in str(health(server)["warnings"])
        _forget(other, head_of(place / "logs").size + 5)
        with other.listening(port):
            wait_for(lambda: "knows a longer log" in (witnesses(server)[1]["problem"] or ""))
    seen = witnessed(place / "logs")
    assert seen is not None
    assert one.key.seen(seen)
    assert other.key.seen(seen) is None


def witnesses(server: LiveServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = health(server)["log"]["witnesses"]
    return found


def _forget(asked: Asked, size: int) -> None:
    """Lets a witness remember another, longer log of that name."""
    [file] = [each for each in asked.witness._state.iterdir() if len(each.name) == 64]
    lines = file.read_text().split("\n")
    file.write_text("\n".join([lines[0], str(size), *lines[2:]]))


@pytest.mark.parametrize(
    "options, why",
    [
        ({"ship_hashes": "h"}, "--ship-hashes needs --signing-key"),
        ({"ship_texts": "t"}, "--ship-texts needs --ship-hashes"),
        ({"ship_hashes": "h", "ship_texts": "h/", "signing_key": "k"}, "another bucket"),
        ({"ship_hashes": "/h", "ship_texts": "file:///h", "signing_key": "k"}, "another bucket"),
        ({"ship_hashes": "h", "ship_texts": "x/../h", "signing_key": "k"}, "another bucket"),
        ({"witness": ["http://w#{key}"]}, "--witness needs --signing-key"),
    ],
)
def test_options_that_need_others_are_refused_without(
    options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    key = WitnessKey("w", ED25519, bytes(32))
    named = [each.format(key=key) for each in options.get("witness", [])]
    with pytest.raises((CannotStart, InvalidRequest), match=why):
        Service.opened(Settings(logs_dir=tmp_path, **{**options, "witness": named}))


def test_a_start_refuses_what_can_never_be_published(place: Path) -> None:
    options: dict[str, Any] = {"logs_dir": place / "logs", "signing_key": place / "key"}
    key = WitnessKey("w", ED25519, bytes(32))
    one = Settings(**options, witness=[f"http://w#{key}"], offline=True)
    with pytest.raises(CannotStart, match="--offline opens no connection"):
        Service.opened(one)
    with pytest.raises(InvalidRequest, match="witness's key"):
        Service.opened(Settings(**options, witness=["http://w#nonsense"]))
    with pytest.raises(ValueError, match="is no witness"):
        Settings(**options, witness=["http://w"])
