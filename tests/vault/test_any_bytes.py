"""Whatever bytes a file of the vault holds, each reader says what is wrong, and none breaks."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from minivault.cli.logs_view import print_record, print_records, write_csv
from minivault.errors import MiniVaultError
from minivault.vault import Vault, load_secret
from minivault.vault.reader import Reader
from minivault.vault.redact import copies_of, redact
from minivault.vault.repair import adopt, repair
from minivault.vault.replay import obstacle
from minivault.vault.search import Query, search, summarize
from minivault.vault.signing import write_keys
from minivault.vault.verify import verify
from minivault.web.log_history import history
from minivault.web.reading import Turn
from tests.vault.samples import begin, outcome, write

FULL = bool(os.environ.get("MINIVAULT_FULL"))
PLACES = 200 if FULL else 3  # in each file


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed log in three files, one of them packed, with a journal of a dead process."""
    place = tmp_path_factory.mktemp("sound")
    folder = place / "logs"
    write_keys(place / "key", place / "key.pub")
    load_secret(folder / "secret")
    vault = Vault(folder, max_bytes=1500, signing_key=place / "key")
    vault.open()
    for number in range(5):
        write(vault, f"g{number}", f"prompt {number}")
    left = vault.begin(begin("left")).result(60)
    vault.pieces([(left, "half")])
    (journal,) = folder.glob("inflight-*")
    kept = journal.read_bytes()
    vault.commit(left, outcome("half")).result(60)
    vault.close()
    redact(folder, 2, signing_key=place / "key")
    journal.write_bytes(kept)
    journal.chmod(0o600)
    first = sorted(folder.glob("log-*.jsonl"))[0]
    packed = first.with_name(f"{first.name}.gz")
    packed.write_bytes(gzip.compress(first.read_bytes()))
    packed.chmod(0o600)
    first.unlink()
    return place


def _damages(data: bytes, chance: Random) -> Iterator[bytes]:
    """Flipped bits, cuts, holes, things put in; and what is none of ours at all."""
    for _ in range(PLACES):
        at = chance.randrange(len(data))
        flipped = bytes([data[at] ^ 1 << chance.randrange(8)])
        yield data[:at] + flipped + data[at + 1 :]
        yield data[:at]
        yield data[:at] + b"\0" * min(40, len(data) - at) + data[at + 40 :]
        yield data[:at] + chance.choice(_STRANGE) + data[at:]
    yield from (b"", b"\n", b"[" * 5000, b"[" * 5000 + b"\n", b"null\n", b"\xff\xfe\0\n" * 20)
    strange = [b'"seed":"x"', b'"model":[1]', b'"usage":7', b'"params":null', b'"events":{}']
    for field in strange:
        name = field.split(b":")[0]
        yield data.replace(name, b'"was":0,' + field + b',"x"')


_STRANGE = [b'"', b"{", b"\n", b"\xff", b"\\ud800", b"1e999", b"-", b"9" * 5000, b"\x1b[2J", b"e"]


def _readers(place: Path) -> Iterator[Callable[[], object]]:
    folder, key = place / "logs", place / "key"
    reader = Reader(folder)
    yield lambda: verify(folder, public_key=place / "key.pub")
    yield lambda: search(reader, Query("prompt"))
    yield lambda: summarize(reader)
    yield lambda: history(reader, Turn(lambda: False))
    yield lambda: reader.find("g1")
    yield lambda: [reader.get(seq) for seq in (1, 3, 6)]
    yield lambda: [obstacle(each) for each in reader.backwards()]
    yield lambda: print_records(reader.backwards())
    yield lambda: list(map(print_record, reader.backwards()))
    yield lambda: write_csv(reader.forwards(), io.StringIO())
    yield lambda: copies_of(folder, 3)
    yield lambda: load_secret(folder / "secret")
    yield lambda: _opened(place)
    yield lambda: redact(folder, 3, signing_key=key)
    yield lambda: repair(folder, key)
    yield lambda: adopt(folder, key)
    yield lambda: _opened(place)


def _opened(place: Path) -> None:
    vault = Vault(place / "logs", signing_key=place / "key")
    vault.open()
    with suppress(MiniVaultError):
        write(vault, "more")
    problem = vault.problem
    vault.close()
    assert "its writer failed" not in str(problem)


@pytest.mark.slow
@pytest.mark.usefixtures("nobody_writes_meanwhile")
@pytest.mark.parametrize(
    "name", ["log.jsonl", "log-*.jsonl", "*.gz", "checkpoint", "secret", "inflight-*", "../key"]
)
def test_every_reader_survives_any_bytes(name: str, sound: Path, tmp_path: Path) -> None:
    (path,) = list((sound / "logs").glob(name))[:1] if ".." not in name else [sound / "key"]
    for number, damaged in enumerate(_damages(path.read_bytes(), Random(name))):
        place = tmp_path / str(number)
        shutil.copytree(sound, place)
        target = place / path.relative_to(sound)
        target.write_bytes(damaged)
        for read in _readers(place):
            with suppress(MiniVaultError):
                read()
        shutil.rmtree(place)
