"""A signed log, and buckets: in a folder, and in a store of obstore's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from minivault.vault import writer as writer_module
from minivault.vault.publishing.bucket import Bucket, FolderBucket
from minivault.vault.publishing.object_store import ObjectBucket
from minivault.vault.publishing.shipping import Shipping
from minivault.vault.signing import load_public_key
from tests.tools import leave_out
from tests.vault.tree.signed_log import GOLDEN, write_key, write_log
from tests.vault.tree.test_log_tree import grow

KEY = load_public_key(GOLDEN / "key.pub")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_TICK", 0.01)


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a log of 300 records that it signed."""
    place = tmp_path_factory.mktemp("signed")
    write_key(place / "key")
    write_log(place / "logs", place / "key")
    return place


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Bucket]:
    """Makes the bucket of a name, and the same one again; a test may ask for stores."""
    made: dict[str, Bucket] = {}

    def make(name: str) -> Bucket:
        if getattr(request, "param", "folder") == "store":
            return made.setdefault(name, _store(name))
        return FolderBucket(tmp_path / "buckets" / name)

    return make


def _store(name: str) -> ObjectBucket:
    if find_spec("obstore") is None:
        leave_out("obstore is not installed")
    from obstore.store import MemoryStore

    return ObjectBucket(f"memory://{name}", MemoryStore())


BOTH = pytest.mark.parametrize("bucket", ["folder", "store"], indirect=True)


class Writer:
    """A log of its own, and what ships it."""

    def __init__(self, place: Path, hashes: Bucket, texts: Bucket | None) -> None:
        self.logs, self.key = place / "logs", place / "key"
        self.shipping = Shipping(self.logs, KEY, hashes, texts)

    def grow(self, count: int, prefix: str = "g") -> None:
        grow(self.logs, count, prefix, signing_key=self.key)


@pytest.fixture
def writer(signed: Path, bucket: Callable[[str], Bucket], tmp_path: Path) -> Writer:
    place = Path(shutil.copytree(signed, tmp_path / "writer"))
    return Writer(place, bucket("hashes"), bucket("texts"))
