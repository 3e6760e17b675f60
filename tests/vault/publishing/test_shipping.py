"""Shipping: what the buckets hold then; crashes, races, forks, erasure, and what is not shipped."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from minivault.errors import CannotStart, ChainBroken, InvalidRequest, NotFound
from minivault.vault import Vault
from minivault.vault.publishing import shipping, texts
from minivault.vault.publishing.bucket import (
    Away,
    Bucket,
    FolderBucket,
    Taken,
    is_same,
    open_bucket,
)
from minivault.vault.publishing.inspection import inspect
from minivault.vault.publishing.shipping import Shipping, folder_of, shipped
from minivault.vault.publishing.texts import Texts
from minivault.vault.publishing.tile_log import Forked, Overtaken, TileLog
from minivault.vault.reader import Reader
from minivault.vault.redact import redact
from minivault.vault.signing import BadCheckpoint, Signer, load_public_key, write_keys
from minivault.vault.tree.proof import head_of
from tests.tools import leave_out
from tests.vault.publishing.conftest import BOTH, KEY, Writer
from tests.vault.publishing.faulty import Died, Faulty
from tests.vault.samples import write
from tests.vault.tree.signed_log import write_log

Buckets = Callable[[str], Bucket]


@BOTH
def test_a_bucket_makes_once_and_exchanges_what_is_known(bucket: Buckets) -> None:
    made = bucket("any")
    assert made.names("a") == []
    one = made.create("a/b/one", b"1")
    with pytest.raises(Taken):
        made.create("a/b/one", b"2")
    two = made.swap("a/b/one", b"2", one)
    with pytest.raises(Taken):
        made.swap("a/b/one", b"3", one)
    assert made.read("a/b/one") == (b"2", two)
    with pytest.raises(FileNotFoundError):
        made.read("a/b/none")
    with pytest.raises(Away, match="a/b/one has 1 bytes, and 0 at most"):
        made.read("a/b/one", 0)
    made.create("a/c", b"")
    assert (made.names("a"), made.names("a/b"), made.names("z")) == (["b/", "c"], ["one"], [])


@BOTH
def test_what_is_shipped_is_the_log_and_grows_with_it(writer: Writer, bucket: Buckets) -> None:
    assert shipped(writer.logs) is None
    assert writer.shipping.ship() == head_of(writer.logs) == shipped(writer.logs)
    writer.grow(250)
    head = writer.shipping.ship()
    assert head is not None
    assert head.size == 550
    hashes, lines = bucket("hashes"), list(Reader(writer.logs).forwards())
    log = TileLog(hashes, folder_of(head.origin), [KEY])
    assert log.head == head
    entries = [each for some in log.tiles().entries_from(0) for each in some]
    assert entries == [hashlib.sha256(line).digest() for line in lines]
    objects = list(Texts(bucket("texts"), log.folder).lines())
    assert [each for _, some in objects for each in some] == lines
    found = inspect(hashes, bucket("texts"), [KEY]).logs
    assert [(each.first, each.last, each.texts) for each in found] == [(1, 550, 550)]
    note = writer.logs / "tree" / "shipped"
    before = note.stat().st_ino
    assert writer.shipping.ship() == head  # nothing to do
    assert note.stat().st_ino == before, "nothing is written where nothing is new"
    note.write_bytes(b"damaged")
    assert writer.shipping.ship() == head == shipped(writer.logs)


def test_no_prompt_is_in_the_bucket_of_hashes(signed: Path, tmp_path: Path) -> None:
    Shipping(signed / "logs", KEY, FolderBucket(tmp_path / "hashes"), None).ship()
    files = [each for each in (tmp_path / "hashes").rglob("*") if each.is_file()]
    assert files
    assert not any(b"Tale" in each.read_bytes() for each in files)
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in files)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_crash_at_any_put_loses_nothing_and_leaves_nothing_wrong(
    is_done: bool, writer: Writer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "MOST_LINES", 90)
    puts = 0
    while True:
        puts += 1
        left = [puts]
        hashes = Faulty(bucket(f"hashes{puts}"), left, is_done=is_done)
        lines = Faulty(bucket(f"texts{puts}"), left, is_done=is_done)
        dying = replace(writer.shipping, hashes=hashes, texts=lines)
        try:
            dying.ship()
        except Died:
            whole = replace(dying, hashes=bucket(f"hashes{puts}"), texts=bucket(f"texts{puts}"))
            whole.ship()
        else:
            break
        [found] = inspect(whole.hashes, whole.texts, [KEY]).logs
        assert (found.last, found.texts) == (300, 300)
    assert puts == 4 + 5 + 1 + 1, "texts, tiles, checkpoint; and the last one met no fault"


def test_texts_that_a_dead_shipper_left_may_be_more_or_fewer(
    writer: Writer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list(Reader(writer.logs).forwards())
    there = Texts(bucket("texts"), folder_of(head_of(writer.logs).origin))
    assert there.put(lines[:40]) == 40
    assert there.put(lines) == 40
    assert there.put(lines[40:50]) == 10
    writer.shipping.ship()
    assert there.firsts() == [1, 41, 51]
    [found] = inspect(bucket("hashes"), bucket("texts"), [KEY]).logs
    assert found.texts == 300


def test_other_texts_in_the_place_of_these_are_not_taken_for_them(
    writer: Writer, bucket: Buckets
) -> None:
    there = Texts(bucket("texts"), folder_of(head_of(writer.logs).origin))
    there.put([next(Reader(writer.logs).forwards()).replace(b"Tale", b"Lies")])
    with pytest.raises(Forked, match="000000000001.jsonl.gz is there already, and is another"):
        writer.shipping.ship()


def test_of_two_shippers_at_once_one_is_told_and_goes_on(
    writer: Writer, bucket: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.shipping.ship()
    other = Shipping(tmp_path / "other", KEY, writer.shipping.hashes, writer.shipping.texts)
    shutil.copytree(writer.logs, other.logs)
    writer.grow(5)
    shutil.rmtree(other.logs)
    shutil.copytree(writer.logs, other.logs)
    writer.grow(5, "h")
    publish = TileLog._publish

    def overtaken(log: TileLog, head: object) -> None:
        monkeypatch.setattr(TileLog, "_publish", publish)
        writer.shipping.ship()
        publish(log, head)  # type: ignore[arg-type]

    monkeypatch.setattr(TileLog, "_publish", overtaken)
    with pytest.raises(Overtaken, match="another one published"):
        other.ship()
    with pytest.raises(Forked, match="310 records are published, and here are 305"):
        other.ship()
    shutil.rmtree(other.logs)
    shutil.copytree(writer.logs, other.logs)
    assert other.ship() == head_of(writer.logs)
    [found] = inspect(bucket("hashes"), bucket("texts"), [KEY]).logs
    assert (found.last, found.texts) == (310, 310)


def test_of_servers_on_one_folder_one_ships(writer: Writer) -> None:
    with shipping._alone(writer.logs) as is_first:
        assert is_first
        assert writer.shipping.ship() is None
    assert writer.shipping.ship() == head_of(writer.logs)


def test_a_log_that_was_written_anew_is_not_shipped(
    writer: Writer, bucket: Buckets, tmp_path: Path
) -> None:
    writer.shipping.ship()
    before = [bucket("hashes").names(each) for each in ("", "writers")]
    key = writer.key
    write_log(tmp_path / "short", key, records=100)
    short = Writer(tmp_path, writer.shipping.hashes, writer.shipping.texts)
    other = replace(short.shipping, logs=tmp_path / "short")
    with pytest.raises(Forked, match="300 records are published, and here are 100"):
        other.ship()
    short.logs, short.key = tmp_path / "short", key
    short.grow(250, "another")
    with pytest.raises(Forked, match="the 300 records that are published are others than here"):
        other.ship()
    assert [bucket("hashes").names(each) for each in ("", "writers")] == before
    inspect(bucket("hashes"), bucket("texts"), [KEY])


def test_a_tile_that_is_damaged_here_is_not_published(writer: Writer, bucket: Buckets) -> None:
    path = writer.logs / "tree" / "tile" / "entries" / "001.p" / "44"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChainBroken, match="another record 300"):
        writer.shipping.ship()
    with pytest.raises(Forked, match="did not grow"):
        replace(writer.shipping, texts=None).ship()
    assert bucket("hashes").names("writers") == []


def test_what_is_published_must_be_signed_and_whole(
    writer: Writer, bucket: Buckets, tmp_path: Path
) -> None:
    head = writer.shipping.ship()
    assert head is not None
    hashes, folder = bucket("hashes"), folder_of(head.origin)
    note, version = hashes.read(f"{folder}/checkpoint")
    version = hashes.swap(f"{folder}/checkpoint", replace(head, signatures="").note, version)
    with pytest.raises(BadCheckpoint, match="not signed"):
        writer.shipping.ship()
    version = hashes.swap(f"{folder}/checkpoint", note, version)
    writer.grow(1)
    for name, why in (("0/001.p/44", "newest entries are not"), ("1/000.p/1", "published root")):
        path = f"{folder}/tile/{name}"
        tile, version = hashes.read(path)
        version = hashes.swap(path, tile[:-1] + bytes([tile[-1] ^ 1]), version)
        with pytest.raises(Forked, match=why):
            writer.shipping.ship()
        hashes.swap(path, tile, version)
    path = f"{folder}/checkpoint"
    other = replace(head, origin="minivault/other/tree-from-1").signed(Signer.load(writer.key))
    version = hashes.swap(path, other.note, hashes.read(path)[1])
    with pytest.raises(Forked, match="is the log minivault/other/tree-from-1, not"):
        writer.shipping.ship()
    hashes.swap(path, head.note, version)
    hashes.create(f"{folder}/tile/0/001.p/45", b"of somebody else")
    with pytest.raises(Forked, match="001.p/45 is there already, and is another"):
        writer.shipping.ship()


@BOTH
def test_what_is_redacted_is_erased_there_too(
    writer: Writer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "MOST_LINES", 90)
    monkeypatch.setattr(texts, "MOST_LINES", 90)
    writer.shipping.ship()
    folder = folder_of(head_of(writer.logs).origin)
    before = _all(bucket("hashes"), folder)
    redact(writer.logs, 7, others=[8], signing_key=writer.key)
    writer.grow(1)
    redact(writer.logs, 303, signing_key=writer.key)  # one that was never shipped with its text
    writer.shipping.ship()
    lines = [each for _, some in Texts(bucket("texts"), folder).lines() for each in some]
    assert lines == list(Reader(writer.logs).forwards())
    assert not any(each[39:45] == b"Tale 7" or b'"Tale 7"' in each for each in lines)
    [found] = inspect(bucket("hashes"), bucket("texts"), [KEY]).logs
    assert found.redacted == (7, 8, 303)
    after = _all(bucket("hashes"), folder)
    assert {each: after[each] for each in before if "checkpoint" not in each} == {
        each: data for each, data in before.items() if "checkpoint" not in each
    }


def test_what_was_redacted_and_then_removed_here_is_erased_there(
    writer: Writer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.shipping.ship()
    _rotate(writer)
    for seq in (7, 9):
        redact(writer.logs, seq, signing_key=writer.key)
    _rotate(writer, keep_files=1)
    assert Reader(writer.logs).segments()[0].first == 301, "what tells of it is there, and they not"
    texts_bucket, listed = bucket("texts"), []
    names = FolderBucket.names

    def counted(there: FolderBucket, folder: str) -> list[str]:
        listed.append(folder)
        return names(there, folder)

    monkeypatch.setattr(FolderBucket, "names", counted)
    writer.shipping.ship()
    assert len(listed) == 1, "once for all of them"
    [found] = inspect(bucket("hashes"), texts_bucket, [KEY]).logs
    assert found.redacted == (7, 9)


def _rotate(writer: Writer, keep_files: int = 9) -> None:
    vault = Vault(writer.logs, signing_key=writer.key, max_bytes=1, keep_files=keep_files)
    vault.open()
    write(vault, "x")
    vault.close()


def _all(bucket: Bucket, folder: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in bucket.names(folder):
        path = f"{folder}/{name}".rstrip("/")
        found |= _all(bucket, path) if name.endswith("/") else {path: bucket.read(path)[0]}
    return found


def test_a_redaction_that_the_tree_does_not_know_yet_is_waited_for(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = head_of(writer.logs)
    redact(writer.logs, 7, signing_key=writer.key)
    monkeypatch.setattr(shipping, "head_of", lambda logs: head)
    with pytest.raises(Overtaken, match="redacted just now"):
        writer.shipping.ship()
    monkeypatch.undo()
    assert writer.shipping.ship() is not None


def test_texts_that_were_removed_before_they_were_shipped_are_told(
    writer: Writer, bucket: Buckets, caplog: pytest.LogCaptureFixture
) -> None:
    replace(writer.shipping, texts=None).ship()
    vault = Vault(writer.logs, signing_key=writer.key, max_bytes=1, keep_files=3)
    vault.open()
    for number in range(6):
        write(vault, f"x{number}")
    vault.close()
    first = Reader(writer.logs).segments()[0].first
    assert first > 301
    writer.shipping.ship()
    assert f"records 301 to {first - 1} were removed unshipped; if one" in caplog.text
    [found] = inspect(bucket("hashes"), bucket("texts"), [KEY]).logs
    assert (found.last, found.texts) == (306, 307 - first)


def test_what_cannot_be_shipped_is_said(signed: Path, tmp_path: Path) -> None:
    write_keys(tmp_path / "k", tmp_path / "k.pub")
    hashes = FolderBucket(tmp_path / "b")
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        Shipping(signed / "logs", load_public_key(tmp_path / "k.pub"), hashes).ship()
    (tmp_path / "none").mkdir()
    with pytest.raises(NotFound, match="no tree yet"):
        Shipping(tmp_path / "none", KEY, hashes).ship()
    (tmp_path / "file").write_text("")
    with pytest.raises(Away, match="Not a directory"):
        Shipping(signed / "logs", KEY, FolderBucket(tmp_path / "file")).ship()


@pytest.mark.parametrize(
    "url, why",
    [
        ("s3://key:secret@bucket", "holds no key"),
        ("s3://bucket?token=x", "holds no key"),
        ("http://bucket", "no address of a bucket"),
        ("s3://", "no address of a bucket"),
        ("file://", "no address of a bucket"),
    ],
)
def test_an_address_is_one_of_a_bucket_and_holds_no_key(url: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as told:
        open_bucket(url)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("s3://b/x", "s3://b//x/", True),
        ("s3://b", "s3://b/", True),
        ("s3://b/x", "s3://b/y", False),
        ("s3://b/x", "gs://b/x", False),
        ("file:///b", "file:///b%2F.", True),
        ("file:///b", "file:///c", False),
    ],
)
def test_one_place_may_be_written_in_many_ways(one: str, other: str, same: bool) -> None:
    assert is_same(_At(one), _At(other)) is same


class _At(FolderBucket):
    """Called by another address."""

    def __init__(self, url: str) -> None:
        super().__init__(Path("/"))
        self._address = url

    @property
    def url(self) -> str:
        return self._address


def test_a_link_to_a_bucket_is_that_bucket(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert is_same(FolderBucket(tmp_path / "link"), FolderBucket(tmp_path / "b"))


def test_credentials_come_from_a_private_file_and_are_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("obstore") is None:
        leave_out("obstore is not installed")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    file = tmp_path / "credentials"
    file.write_text(
        "# of the shipper\nexport AWS_ACCESS_KEY_ID=name\nAWS_SECRET_ACCESS_KEY='hushhush'\n"
        "AWS_ENDPOINT_URL=http://127.0.0.1:9\n"
    )
    with pytest.raises(CannotStart, match="chmod 600"):
        open_bucket("s3://bucket", file)
    file.chmod(0o600)
    bucket = open_bucket("s3://bucket/some/where", file)
    assert bucket.url == "s3://bucket/some/where"
    with pytest.raises(Away, match="127.0.0.1:9") as told:
        bucket.read("checkpoint")
    assert "hushhush" not in str(told.value) + repr(bucket)
    file.write_text("hushhush\n")
    with pytest.raises(CannotStart, match="line 1: a line is NAME=value") as refused:
        open_bucket("s3://bucket", file)
    assert "hushhush" not in str(refused.value)
    with pytest.raises(CannotStart, match="cannot be read"):
        open_bucket("s3://bucket", tmp_path / "none")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(CannotStart, match="is not a plain file"):
        open_bucket("s3://bucket", tmp_path / "pipe")
    file.write_bytes(b"\xff")
    with pytest.raises(CannotStart, match="is not text"):
        open_bucket("s3://bucket", file)
    file.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    with pytest.raises(CannotStart, match="is not text"):  # a group's, as in a container
        open_bucket("s3://bucket", file)
