"""Shipping to a real S3 server with object lock: what it holds, refuses and keeps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.vault.publishing.bucket import Taken, open_bucket
from minivault.vault.publishing.fleet import gather
from minivault.vault.publishing.inspection import inspect
from minivault.vault.publishing.shipping import Shipping, folder_of
from minivault.vault.publishing.texts import Texts
from minivault.vault.reader import Reader
from minivault.vault.redact import redact
from minivault.vault.signing import Signer, load_public_key, write_keys
from tests.live import live_server, wait_for
from tests.test_cli_logs import run
from tests.tools import FULL
from tests.vault.publishing.conftest import KEY
from tests.vault.publishing.faulty import Died, Faulty
from tests.vault.publishing.s3 import S3, SECRET, serving
from tests.vault.publishing.test_publisher import health, say
from tests.vault.tree.test_log_tree import grow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="starts an S3 server; MINIVAULT_FULL=1"),
]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patched:
        for name, value in server.environment.items():
            patched.setenv(name, value)
        yield server


@pytest.fixture
def buckets(s3: S3, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A locked one and another; each test has its own."""
    name = re.sub(r"[^a-z]+", "-", request.node.name)[:40].strip("-")
    s3.make_bucket(f"{name}-hashes", is_locked=True)
    s3.make_bucket(f"{name}-texts", is_locked=False)
    return f"s3://{name}-hashes", f"s3://{name}-texts"


@pytest.fixture
def shipping(signed: Path, tmp_path: Path, buckets: tuple[str, str]) -> Shipping:
    shutil.copytree(signed, tmp_path / "place")
    return Shipping.opened(tmp_path / "place" / "logs", tmp_path / "place" / "key", *buckets)


def test_a_bucket_makes_once_and_exchanges_what_is_known(buckets: tuple[str, str]) -> None:
    for bucket in map(open_bucket, buckets):
        one = bucket.create("a/one", b"1")
        with pytest.raises(Taken):
            bucket.create("a/one", b"2")
        two = bucket.swap("a/one", b"2", one)
        with pytest.raises(Taken):
            bucket.swap("a/one", b"3", one)
        assert bucket.read("a/one") == (b"2", two)
        assert (bucket.names("a"), bucket.names(""), bucket.names("z")) == (["one"], ["a/"], [])
        with pytest.raises(FileNotFoundError):
            bucket.read("none")


def test_what_is_shipped_is_locked_and_verified_and_texts_can_be_erased(
    s3: S3, shipping: Shipping, buckets: tuple[str, str], tmp_path: Path
) -> None:
    head = shipping.ship()
    assert head is not None
    folder, key = folder_of(head.origin), tmp_path / "place" / "key"
    redact(shipping.logs, 7, signing_key=key)
    grow(shipping.logs, 1, signing_key=key)
    shipping.ship()
    assert shipping.texts is not None
    lines = [each for _, some in Texts(shipping.texts, folder).lines() for each in some]
    assert lines == list(Reader(shipping.logs).forwards())
    write_keys(tmp_path / "fleet", tmp_path / "fleet.pub")
    gathered = gather(shipping.hashes, Signer.load(tmp_path / "fleet"), [KEY])
    assert len(gathered.taken) == 1
    keys = [KEY, load_public_key(tmp_path / "fleet.pub")]
    found = inspect(shipping.hashes, shipping.texts, keys).logs
    assert [(each.last, each.texts, each.redacted) for each in found] == [(302, 302, (7,))]
    name = buckets[0].removeprefix("s3://")
    status, listed = s3.request("GET", f"/{name}", f"prefix={folder.replace('/', '%2F')}&versions=")
    assert status == 200
    versions = re.findall(r"<Key>([^<]+)</Key>.*?<VersionId>([^<]+)</VersionId>", listed.decode())
    assert sum("checkpoint" in path for path, _ in versions) == 2, "the older one is kept"
    for path, version in versions:
        status, _ = s3.request("DELETE", f"/{name}/{path}", f"versionId={version}")
        assert status == 403, f"{path} could be removed"


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_crash_at_any_put(is_done: bool, shipping: Shipping) -> None:
    """Each life dies one put later than the one before, in the same buckets."""
    for puts in range(1, 100):
        left = [puts]
        assert shipping.texts is not None
        hashes = Faulty(shipping.hashes, left, is_done=is_done)
        texts = Faulty(shipping.texts, left, is_done=is_done)
        try:
            Shipping(shipping.logs, KEY, hashes, texts).ship()
        except Died:
            continue
        [found] = inspect(shipping.hashes, shipping.texts, [KEY]).logs
        assert (found.last, found.texts) == (300, 300)
        return
    raise AssertionError


def test_a_server_outlives_its_bucket_and_the_command_line_verifies_it(
    s3: S3,
    signed: Path,
    tmp_path: Path,
    buckets: tuple[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = Path(shutil.copytree(signed, tmp_path / "place"))
    hashes, texts = buckets
    options: dict[str, Any] = {"signing_key": place / "key", "ship_every": 0.2}
    with live_server(place, ship_hashes=hashes, ship_texts=texts, **options) as server:
        seq = say(server)
        wait_for(lambda: health(server)["log"]["shipping"]["seq"] == seq)
        s3.stop()
        seq = say(server)
        wait_for(lambda: health(server)["log"]["shipping"]["problem"], seconds=60)
        seq = say(server)
        assert health(server)["status"] == "ready"
        s3.start()
        wait_for(lambda: health(server)["log"]["shipping"]["seq"] == seq, seconds=60)
    public = Path(__file__).parents[1] / "tree" / "golden" / "key.pub"
    assert run("verify", "--from", hashes, "--texts", texts, "--public-key", public) == 0
    told = capfd.readouterr()
    assert f"the records 1 to {seq}; {seq} with their lines" in told.out
    assert SECRET not in told.out + told.err
