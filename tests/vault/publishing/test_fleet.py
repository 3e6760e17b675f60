"""The fleet's log over several writers, and what an auditor finds in changed buckets."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minivault.errors import ChainBroken, NotFound
from minivault.vault.publishing import inspection, tile_log
from minivault.vault.publishing.bucket import Bucket, FolderBucket
from minivault.vault.publishing.fleet import FLEET, checkpoints_in, gather, writers
from minivault.vault.publishing.inspection import inspect
from minivault.vault.publishing.shipping import folder_of
from minivault.vault.publishing.texts import Texts, entry_of
from minivault.vault.publishing.tile_log import TileLog
from minivault.vault.reader import Reader
from minivault.vault.redact import redact
from minivault.vault.signing import BadCheckpoint, Signer, write_keys
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import head_of
from minivault.vault.tree.tiles import Edge
from tests.vault.publishing.conftest import BOTH, KEY, Writer
from tests.vault.tree.signed_log import write_key
from tests.vault.tree.test_log_tree import grow

Buckets = Callable[[str], Bucket]


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Of the fleet."""
    write_keys(tmp_path / "fleet.key", tmp_path / "fleet.pub")
    return Signer.load(tmp_path / "fleet.key")


@pytest.fixture
def second(writer: Writer, tmp_path: Path) -> Writer:
    """A small log of another name, with the same key."""
    place = tmp_path / "second"
    place.mkdir()
    write_key(place / "key")
    grow(place / "logs", 3, signing_key=place / "key")
    return Writer(place, writer.shipping.hashes, writer.shipping.texts)


def put(bucket: Bucket, path: str, data: bytes) -> None:
    """As somebody does who may write to the bucket."""
    bucket.swap(path, data, bucket.read(path)[1])


def test_the_fleet_knows_each_checkpoint_of_each_writer_once(
    writer: Writer, second: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes = bucket("hashes")
    assert gather(hashes, signer, [KEY]).head is None
    heads = []
    for grown in (0, 2, 5):
        if grown:
            writer.grow(grown)
            second.grow(grown)
        heads += [writer.shipping.ship(), second.shipping.ship()]
        gathered = gather(hashes, signer, [KEY])
        assert (len(gathered.taken), gathered.refused) == (2, [])
        assert gather(hashes, signer, [KEY]).taken == []
    fleet = TileLog(hashes, FLEET, [signer.public_key])
    assert fleet.size == 6
    known = checkpoints_in(fleet)
    assert sorted(each.note for some in known.values() for each in some) == sorted(
        each.note for each in heads if each
    )
    found = inspect(hashes, bucket("texts"), [KEY, signer.public_key])
    assert found.fleet == fleet.head
    assert {(each.last, each.fleet, each.texts) for each in found.logs} == {
        (307, 3, 307),
        (10, 3, 10),
    }
    with pytest.raises(BadCheckpoint, match="not signed with a key given"):
        inspect(hashes, None, [KEY])


def test_a_writer_that_wrote_its_log_anew_is_refused_and_others_are_taken(
    writer: Writer, second: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes = bucket("hashes")
    head = writer.shipping.ship()
    second.shipping.ship()
    gather(hashes, signer, [KEY])
    second.grow(1)
    second.shipping.ship()
    assert head is not None
    _exchange(hashes, head, Signer.load(writer.key), 400)
    gathered = gather(hashes, signer, [KEY])
    assert [each.size for each in gathered.taken] == [4]
    assert "its first 300 records were written anew" in gathered.refused[0]
    with pytest.raises(ChainBroken, match="first 300 records are not those of the fleet's log"):
        inspect(hashes)
    put(hashes, f"{folder_of(head.origin)}/checkpoint", replace(head, size=200).note)
    assert "not signed" in gather(hashes, signer, [KEY]).refused[0]


@BOTH
def test_lines_that_nobody_signed_neither_stop_the_fleet_nor_get_into_its_log(
    writer: Writer, second: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes = bucket("hashes")
    head, other = writer.shipping.ship(), second.shipping.ship()
    assert head is not None
    assert other is not None
    junk = [f"— {name} {'AAAA' * 30}\n" for name in (head.origin, "somebody")]
    path = f"{folder_of(head.origin)}/checkpoint"
    put(hashes, path, head.note + "".join(junk * 600).encode())
    gathered = gather(hashes, signer, [KEY])
    assert [each.note for each in gathered.taken] == [other.note]
    assert "the checkpoint is too long" in gathered.refused[0]
    put(hashes, path, head.note + "".join(junk).encode())
    assert [each.note for each in gather(hashes, signer, [KEY]).taken] == [head.note]
    assert gather(hashes, signer, [KEY]).taken == []
    inspect(hashes, None, [KEY, signer.public_key])


def test_a_tile_that_is_far_too_large_is_refused_and_others_are_taken(
    writer: Writer, second: Writer, signer: Signer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = bucket("hashes")
    head, other = writer.shipping.ship(), second.shipping.ship()
    assert head is not None
    monkeypatch.setattr(tile_log, "_MOST_TILE", 2**11)
    put(hashes, f"{folder_of(head.origin)}/tile/0/001.p/44", bytes(2**11 + 1))
    gathered = gather(hashes, signer, [KEY])
    assert gathered.taken == [other]
    assert "has 2049 bytes" in gathered.refused[0]


def _exchange(hashes: Bucket, head: TreeHead, signer: Signer, size: int) -> None:
    """Another tree under the writer's name and key, by somebody who can write over tiles."""
    folder = folder_of(head.origin)

    def over(path: str, data: bytes) -> None:
        try:
            put(hashes, f"{folder}/{path}", data)
        except FileNotFoundError:
            hashes.create(f"{folder}/{path}", data)

    edge = Edge(over)
    edge.append(number.to_bytes(32) for number in range(size))
    edge.seal()
    put(hashes, f"{folder}/checkpoint", TreeHead(head.origin, size, edge.root).signed(signer).note)


def test_a_writer_that_became_shorter_is_refused(
    writer: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes, old = bucket("hashes"), head_of(writer.logs)
    writer.shipping.ship()
    writer.grow(7)
    writer.shipping.ship()
    gather(hashes, signer, [KEY])
    put(hashes, f"{folder_of(old.origin)}/checkpoint", old.note)
    refused = gather(hashes, signer, [KEY]).refused
    assert "307 records were published, and now 300 are" in refused[0]
    with pytest.raises(ChainBroken, match="records 301 to 307 are missing"):
        inspect(hashes)


def test_anything_that_is_changed_in_the_bucket_of_hashes_is_seen(
    writer: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes = bucket("hashes")
    writer.shipping.ship()
    gather(hashes, signer, [KEY])
    keys = [KEY, signer.public_key]
    inspect(hashes, None, keys)
    [folder] = writers(hashes)
    for path in (*_paths(hashes, folder), *_paths(hashes, FLEET)):
        data = hashes.read(path)[0]
        for at in {0, len(data) // 2, len(data) - 2}:
            put(hashes, path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises((ChainBroken, BadCheckpoint)):
                inspect(hashes, None, keys)
        put(hashes, path, data)
    inspect(hashes, None, keys)


def _paths(bucket: Bucket, folder: str) -> list[str]:
    found: list[str] = []
    for name in bucket.names(folder):
        path = f"{folder}/{name}".rstrip("/")
        found += _paths(bucket, path) if name.endswith("/") else [path]
    return found


def test_anything_that_is_changed_in_the_bucket_of_texts_is_seen(
    writer: Writer, bucket: Buckets
) -> None:
    redact(writer.logs, 7, signing_key=writer.key)
    writer.shipping.ship()
    hashes, texts = bucket("hashes"), bucket("texts")
    [folder] = writers(hashes)
    path = f"{folder}/{1:012d}.jsonl.gz"
    lines = gzip.decompress(texts.read(path)[0]).splitlines(keepends=True)

    def see(changed: list[bytes], why: str) -> None:
        put(texts, path, gzip.compress(b"".join(changed)))
        with pytest.raises(ChainBroken, match=why):
            inspect(hashes, texts, [KEY])

    see([*lines[:3], lines[3].replace(b"Tale", b"Lies"), *lines[4:]], "record 4 is not|was changed")
    see([*lines[:3], *lines[4:]], "record 5 stands where record 4")
    see(
        [*lines[:6], lines[6].replace(b'"seed":7', b'"seed":8'), *lines[7:]], "what redaction makes"
    )
    see([*lines[:-1], lines[-1].replace(b'"redacts":7', b'"redacts":8')], "with another key")
    see([*lines[:-1], lines[-1][:-9]], "a line that is no record")
    see(lines[1:], "does not begin with record 1")
    see([], "does not begin with record 1")
    see(lines[:-1], "record 7 was redacted, and no record says so")
    for damaged in (b"nonsense", gzip.compress(b"".join(lines))[:-9]):
        put(texts, path, damaged)
        with pytest.raises(ChainBroken, match="cannot be read"):
            inspect(hashes, texts, [KEY])
    put(texts, path, gzip.compress(b"".join(lines)))
    assert inspect(hashes, texts, [KEY]).logs[0].redacted == (7,)


def test_a_log_that_is_gone_from_the_bucket_is_missed(
    writer: Writer, second: Writer, signer: Signer, tmp_path: Path
) -> None:
    hashes = FolderBucket(tmp_path / "b")
    with pytest.raises(NotFound, match="no log is published"):
        inspect(hashes)
    for each in (writer, second):
        replace(each.shipping, hashes=hashes, texts=None).ship()
    gather(hashes, signer, [KEY])
    shutil.rmtree(tmp_path / "b" / folder_of(head_of(second.logs).origin))
    with pytest.raises(ChainBroken, match="the fleet's log knows it, and it is gone"):
        inspect(hashes)


def test_a_signed_checkpoint_must_be_of_these_tiles_and_of_this_log(
    writer: Writer, second: Writer, signer: Signer, bucket: Buckets
) -> None:
    hashes, owner = bucket("hashes"), Signer.load(writer.key)
    head, other = writer.shipping.ship(), second.shipping.ship()
    assert head is not None
    assert other is not None
    path = f"{folder_of(head.origin)}/checkpoint"
    put(hashes, path, replace(head, root=bytes(32)).signed(owner).note)
    assert "tiles do not make its root" in gather(hashes, signer, [KEY]).refused[0]
    with pytest.raises(ChainBroken, match="its tiles do not make its root"):
        inspect(hashes, None, [KEY, signer.public_key])
    put(hashes, path, head.note)
    put(hashes, f"{folder_of(other.origin)}/checkpoint", head.note)
    assert f"is the log {head.origin}" in gather(hashes, signer, [KEY]).refused[0]
    with pytest.raises(ChainBroken, match=f"it is the log {head.origin}"):
        inspect(hashes)


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_fleets_log_knows_signed_checkpoints_each_once(
    is_signed: bool, writer: Writer, signer: Signer, bucket: Buckets
) -> None:
    head = writer.shipping.ship()
    assert head is not None
    notes = [head.note, head.note] if is_signed else [replace(head, signatures="").note]
    edge = Edge(lambda path, data: None)
    edge.append(notes)
    fleet = TileLog(bucket("hashes"), FLEET)
    fleet.extend(TreeHead("f/fleet", len(notes), edge.root).signed(signer), lambda index: [notes])
    keys = [KEY, signer.public_key]
    with pytest.raises((ChainBroken, BadCheckpoint), match="two logs|not signed with a key given"):
        inspect(bucket("hashes"), None, keys)


def test_a_line_older_than_the_tree_is_broken(writer: Writer, bucket: Buckets) -> None:
    """It has no entry there, not even one counted from the tree's end."""
    lines = list(Reader(writer.logs).forwards())
    entries = list(map(entry_of, lines[10:]))
    edge = Edge(lambda path, data: None)
    edge.append(entries)
    origin = head_of(writer.logs).origin.replace("tree-from-1", "tree-from-11")
    head = TreeHead(origin, len(entries), edge.root).signed(Signer.load(writer.key))
    TileLog(bucket("hashes"), folder_of(origin)).extend(head, lambda index: [entries])
    texts = Texts(bucket("texts"), folder_of(origin))
    texts.put(lines[10:])
    assert inspect(bucket("hashes"), bucket("texts"), [KEY]).logs[0].texts == 290
    texts.put(lines[:5])
    with pytest.raises(ChainBroken, match="record 1 is older than the tree"):
        inspect(bucket("hashes"), bucket("texts"), [KEY])


def test_a_tile_that_was_damaged_meanwhile_is_a_broken_chain(
    writer: Writer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.shipping.ship()
    monkeypatch.setattr(inspection, "remake", lambda log: None)
    folder = folder_of(head_of(writer.logs).origin)
    put(bucket("hashes"), f"{folder}/tile/entries/001.p/44", b"damaged")
    with pytest.raises(ChainBroken, match="the tree is damaged: a bundle of entries is cut short"):
        inspect(bucket("hashes"), bucket("texts"), [KEY])


def test_what_the_fleet_knows_is_read_once_in_a_gathering(
    writer: Writer, signer: Signer, bucket: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = [TreeHead("minivault/x/tree-from-1", size, bytes(32)).note for size in range(1, 258)]
    edge = Edge(lambda path, data: None)
    edge.append(notes)
    fleet = TileLog(bucket("hashes"), FLEET)
    fleet.extend(TreeHead("f/fleet", 257, edge.root).signed(signer), lambda index: [notes])
    writer.shipping.ship()
    paths: list[str] = []
    get = TileLog.get

    def counted(log: TileLog, path: str) -> bytes:
        paths.append(f"{log.folder}/{path}")
        return get(log, path)

    monkeypatch.setattr(TileLog, "get", counted)
    assert len(gather(bucket("hashes"), signer, [KEY]).taken) == 1
    assert paths.count("fleet/tile/entries/000") == 1


def test_the_last_line_is_held_against_the_tree(writer: Writer, bucket: Buckets) -> None:
    """No other line names its hash."""
    writer.shipping.ship()
    path = f"{folder_of(head_of(writer.logs).origin)}/{1:012d}.jsonl.gz"
    lines = gzip.decompress(bucket("texts").read(path)[0]).splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b"Tale", b"Lies")
    put(bucket("texts"), path, gzip.compress(b"".join(lines)))
    with pytest.raises(ChainBroken, match="record 300 is not the one of the tree"):
        inspect(bucket("hashes"), bucket("texts"), [KEY])
