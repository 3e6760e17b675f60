"""The tree beside the log: written behind it, made again from it, refused where they differ."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minivault.errors import CannotStart, ChainBroken
from minivault.vault import Vault
from minivault.vault import writer as writer_module
from minivault.vault.reader import Reader
from minivault.vault.redact import redact
from minivault.vault.repair import adopt, repair
from minivault.vault.signing import BadCheckpoint, write_keys
from minivault.vault.tree.folder import TreeFolder
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.log_tree import LogTree
from minivault.vault.tree.tiles import Edge, Tiles, edge_paths
from minivault.vault.verify import verify
from tests.vault.samples import write

pytestmark = pytest.mark.usefixtures("nobody_writes_meanwhile")
FULL = bool(os.environ.get("MINIVAULT_FULL"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_TICK", 0.01)


def grow(folder: Path, count: int, prefix: str = "g", **options: object) -> None:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    for number in range(count):
        write(vault, f"{prefix}{number}")
    vault.close()


def head_of(folder: Path) -> TreeHead:
    return TreeHead.parse((folder / "tree" / "checkpoint").read_bytes())


def root_of(folder: Path) -> bytes:
    """Over the hashes of the lines of a log in which nothing was redacted."""
    edge = Edge(lambda path, data: None)
    edge.append(hashlib.sha256(line).digest() for line in Reader(folder).forwards())
    return edge.root


def tree_of(folder: Path) -> dict[str, bytes]:
    paths = sorted(each for each in (folder / "tree").rglob("*") if each.is_file())
    return {str(each.relative_to(folder / "tree")): each.read_bytes() for each in paths}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 300 records in several files, one of them packed. Copied before it is changed."""
    folder = tmp_path_factory.mktemp("log") / "logs"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer_module, "_TICK", 0.01)
        grow(folder, 300, max_bytes=40_000, fsync=False)
    oldest = min(folder.glob("log-*.jsonl"))
    packed = oldest.with_name(f"{oldest.name}.gz")
    packed.write_bytes(gzip.compress(oldest.read_bytes()))
    packed.chmod(0o600)
    oldest.unlink()
    return folder


@pytest.fixture
def copy(log: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(log, tmp_path / "logs"))


def test_its_entries_are_the_hashes_of_the_lines(log: Path) -> None:
    head, found = head_of(log), verify(log)
    assert (head.size, head.first, head.root) == (300, 1, root_of(log))
    assert (found.last, found.tree) == (300, 300)
    tiles = Tiles(300, TreeFolder(log).get)
    hashes = [hashlib.sha256(line).digest() for line in Reader(log).forwards()]
    assert tiles.entries(0) + tiles.entries(1) == hashes
    assert not list((log / "tree").rglob("000.p/*"))[1:], "what is full has no partial tiles left"


@pytest.mark.parametrize("lost", ["", "checkpoint", "tile/0", "tile/0/001.p/44", "tile/entries"])
def test_what_is_lost_is_made_again_the_same(lost: str, copy: Path) -> None:
    before, path = tree_of(copy), copy / "tree" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    grow(copy, 0)
    after = tree_of(copy)
    assert after["checkpoint"] == before["checkpoint"]
    assert after.items() >= {each for each in before.items() if ".p" not in each[0]}
    assert verify(copy).tree == 300


def test_a_redaction_leaves_the_tree_as_it_is(copy: Path) -> None:
    before = Tiles(300, TreeFolder(copy).get)
    redact(copy, 7)
    redact(copy, 298)
    head = head_of(copy)
    assert head.size == 302
    assert Tiles(302, TreeFolder(copy).get).root(300) == before.root()
    assert verify(copy).redacted == (7, 298)
    shutil.rmtree(copy / "tree")
    grow(copy, 0)
    assert head_of(copy) == head


def test_records_that_retention_removed_stay_provable(copy: Path) -> None:
    name = head_of(copy).origin
    grow(copy, 1, max_bytes=1, keep_files=2)
    found = verify(copy)
    assert found.first > 100
    assert found.tree == 301
    (copy / "tree/tile/0/001.p").rename(copy / "elsewhere")  # made again from tiles and lines
    grow(copy, 1)
    assert (head_of(copy).size, head_of(copy).origin) == (302, name)
    assert verify(copy).tree == 302
    shutil.rmtree(copy / "tree")  # nothing has the first records any more
    grow(copy, 1)
    assert head_of(copy).origin == name.replace("from-1", f"from-{found.first}")
    assert verify(copy).tree == 303


def test_a_tile_that_nothing_can_make_again_ends_the_tree(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grow(copy, 1, max_bytes=1, keep_files=2)
    (copy / "tree/tile/entries/000").unlink()
    shutil.rmtree(copy / "tree/tile/1")
    grow(copy, 1)
    assert "a new one begins" in caplog.text
    assert [each.name for each in copy.glob("set-aside-*-tree")]
    assert verify(copy).tree == 302


def test_a_log_without_a_tree_gets_one_bit_by_bit(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogTree.follow, "__kwdefaults__", {"at_most": 10})
    expected = head_of(copy)
    shutil.rmtree(copy / "tree")
    vault = Vault(copy)
    vault.open()
    deadline, seen = time.monotonic() + 60, {0}
    while max(seen) < 300:
        assert time.monotonic() < deadline
        seen.add(verify(copy).tree)
    vault.close()
    assert len(seen) > 3
    assert Tiles(head_of(copy).size, TreeFolder(copy).get).root(300) == expected.root


def test_several_writers_make_one_tree(tmp_path: Path) -> None:
    one, two = Vault(tmp_path, max_bytes=9000), Vault(tmp_path)
    one.open()
    two.open()
    for number in range(30):
        write(random.Random(number).choice([one, two]), f"g{number}")
    one.close()
    write(two, "last")
    two.close()
    assert head_of(tmp_path).root == root_of(tmp_path)
    assert verify(tmp_path).tree == 31


def _exchanged(folder: Path) -> None:
    """The newest line is another one, and the chain's checkpoint says the same."""
    path = folder / "log.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[-2] = lines[-2].replace(b"Hello", b"Jello")
    path.write_bytes(b"\n".join(lines))
    (folder / "checkpoint").unlink()


def _shortened(folder: Path) -> None:
    path = folder / "log.jsonl"
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:-2]) + b"\n")
    (folder / "checkpoint").unlink()


def _exchanged_and_damaged(folder: Path) -> None:
    _exchanged(folder)
    shutil.rmtree(folder / "tree/tile/0")


@pytest.mark.parametrize("change", [_exchanged, _shortened, _exchanged_and_damaged])
def test_a_log_that_its_tree_does_not_know_is_refused_until_it_is_adopted(
    change: Callable[[Path], None], copy: Path
) -> None:
    name = head_of(copy).origin
    change(copy)
    with pytest.raises((ChainBroken, CannotStart), match="tree"):
        grow(copy, 1)
    with pytest.raises(ChainBroken, match="tree"):
        verify(copy)
    adopt(copy)
    grow(copy, 1)
    assert head_of(copy).origin != name, "two trees of one name would be a fork"
    assert verify(copy).tree == head_of(copy).last
    assert list(copy.glob("set-aside-*-tree"))


def test_a_checkpoint_with_another_root_is_not_written_over(copy: Path) -> None:
    (copy / "tree" / "checkpoint").write_bytes(replace(head_of(copy), root=bytes(32)).note)
    with pytest.raises(ChainBroken, match="another root than the log"):
        verify(copy)
    tree = LogTree(copy)
    tree.open(300)
    with pytest.raises(ChainBroken, match="another record 300 than the log"):
        tree.follow(300, "minivault/any")


def test_a_cut_log_without_its_checkpoint_is_missed_by_its_tree(copy: Path) -> None:
    (copy / "checkpoint").unlink()
    file = copy / "log.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.raises(ChainBroken, match="records 299 to 300 of the tree are missing"):
        verify(copy)


def test_what_is_adopted_unchanged_keeps_its_tree(copy: Path, tmp_path: Path) -> None:
    write_keys(tmp_path / "key", tmp_path / "key.pub")
    before = head_of(copy)
    with pytest.raises(CannotStart, match="not signed"):
        grow(copy, 0, signing_key=tmp_path / "key")
    adopt(copy, tmp_path / "key")
    after = head_of(copy)
    assert (after.body, after.is_signed) == (before.body, True)
    grow(copy, 1)  # without the key: it stays as it is
    assert head_of(copy) == after
    grow(copy, 1, signing_key=tmp_path / "key")
    assert head_of(copy).size == 302
    assert verify(copy, public_key=tmp_path / "key.pub").tree == 302


def test_a_repaired_log_has_a_tree_of_another_name(copy: Path) -> None:
    name = head_of(copy).origin
    path = copy / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Jello", 1))
    repair(copy)
    assert head_of(copy).origin != name
    assert verify(copy).tree == 301


def test_a_disk_that_fails_for_the_tree_alone_stops_nothing(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TreeFolder.put
    failed: list[str] = []

    def put(files: TreeFolder, path: str, data: bytes) -> None:
        if len(failed) < 3:
            failed.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(files, path, data)

    monkeypatch.setattr(TreeFolder, "put", put)
    vault = Vault(copy)
    vault.open()
    for number in range(5):
        write(vault, f"after{number}")
    deadline = time.monotonic() + 60
    while len(failed) < 3 or head_of(copy).size < 305:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert vault.problem is None
    vault.close()
    assert verify(copy).tree == 305


def test_every_flipped_bit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # before it is looked at once more
    folder, public = tmp_path / "logs", tmp_path / "key.pub"
    write_keys(tmp_path / "key", public)
    grow(folder, 3, signing_key=tmp_path / "key")
    assert verify(folder, public_key=public).tree == 3
    for path in [folder / "tree" / each for each in ["checkpoint", *edge_paths(3)]]:
        data = path.read_bytes()
        for bit in bits(len(data)):
            path.write_bytes(flip(data, bit))
            with pytest.raises((ChainBroken, BadCheckpoint)):
                verify(folder, public_key=public)
        path.write_bytes(data)
    assert verify(folder, public_key=public).tree == 3


def bits(size: int) -> Iterator[int]:
    """Those to flip: every one, or some of each kind."""
    return iter(range(0, 8 * size, 1 if FULL else 19))


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@pytest.mark.skipif(not FULL, reason="takes a while; MINIVAULT_FULL=1")
def test_two_million_entries_need_no_more_memory_than_few() -> None:
    edge = Edge(lambda path, data: None)
    tracemalloc.start()
    edge.append(number.to_bytes(32) for number in range(2_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert edge.size == 2_000_000
    assert peak < 2**18
