"""The disk fails under a crowd: nobody hangs, nobody is told more than the log will hold."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.crowd import SSE, Answer, request, talk
from tests.faults.promises import Heard, heard, records, require_kept
from tests.processes import Served, minivault, serving
from tests.small_disk import small_file_system
from tests.tools import FULL, tool

pytestmark = pytest.mark.slow

FORMS = (SSE, "text/plain", "application/json")
HALTING = ("--backend", "tests.echoes:Halting")
STORIES = ("--backend", "tests.stories:Halting")
Fault = Callable[[Served], AbstractContextManager[None]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A log folder on a file system of 512 kB."""
    with small_file_system(tmp_path / "logs", "512k") as place:
        yield place


@contextmanager
def full(server: Served) -> Iterator[None]:
    """Somebody else fills the disk."""
    filler = server.folder / "logs" / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@contextmanager
def limited(server: Served) -> Iterator[None]:
    """No file of the server may grow further than its journal now."""
    pid = server.process.pid
    journals = (server.folder / "logs").glob("inflight-*")
    size = max(each.stat().st_size for each in journals)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 100, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def _moved_away(server: Served) -> Iterator[Path]:
    log = server.folder / "logs" / "log.jsonl"
    aside = server.folder / "aside.jsonl"
    log.rename(aside)
    yield log
    aside.rename(log)


@contextmanager
def a_directory(server: Served) -> Iterator[None]:
    """A directory stands where the log was."""
    with _moved_away(server) as log:
        log.mkdir()
        yield
        log.rmdir()


@contextmanager
def a_link(server: Served) -> Iterator[None]:
    """A link to a file of somebody else stands where the log was."""
    foreign = server.folder / "foreign"
    foreign.write_text("not yours")
    with _moved_away(server) as log:
        log.symlink_to(foreign)
        yield
        log.unlink()
    assert foreign.read_text() == "not yours"


async def _ask(
    port: int, number: int, tokens: int, vanish: Callable[[bytes], bool] = lambda received: False
) -> Heard:
    """A client that insists on an answer; fails if it was a wrong one."""
    body = {"prompt": f"client {number} says größer 🤖\n", "max_tokens": tokens, "seed": number}
    asked = request(method="POST", accept=FORMS[number % 3], body=body)
    answer = await talk(port, asked, vanish=vanish)
    told = heard(answer)
    if not told.id:
        _require_refused(answer)
    if told.error:
        assert told.error["type"] == "log"
    return told


def _require_refused(answer: Answer) -> None:
    assert answer.status == 503, answer
    assert answer.whole
    assert "the log cannot be written" in answer.json["detail"]


async def _crowd(port: int, numbers: range, tokens: int = 20) -> list[Heard]:
    return await asyncio.gather(*(_ask(port, number, tokens) for number in numbers))


async def _health(port: int, status: int) -> str:
    """Waits until /health has this status; the reason it gives."""
    async with asyncio.timeout(60):
        while True:
            answer = await talk(port, request("/health"))
            if answer.status == status:
                return str(answer.json.get("detail", ""))
            await asyncio.sleep(0.05)


async def _storm(server: Served, fault: Fault, why: str, clients: int, step: int) -> list[Heard]:
    """Texts of ten lengths, of which all but the shortest halt: the fault comes when one has ended
    and one is under way, and goes when all have their end."""
    port = server.port
    halting = asyncio.Event()

    def note(received: bytes) -> bool:
        if received.count(b'data: {"text"') > 3:
            halting.set()
        return False

    asked = [
        asyncio.create_task(_ask(port, number, 3 + number % 10 * step, note))
        for number in range(clients)
    ]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait_for(halting.wait(), 60)
    with fault(server):
        (server.folder / "go").touch()
        first = await asyncio.gather(*asked)
        assert why in await _health(port, 503)
        refused = await _crowd(port, range(100, 106))
        assert why in await _health(port, 503)
    await _health(port, 200)
    after = await _crowd(port, range(200, 206))
    assert {each.id for each in refused} == {""}
    assert {each.end for each in after} == {"done"}
    return [*first, *after]


def _require_all_recorded(folder: Path, told: list[Heard]) -> None:
    """Each accepted request has its record, nothing else has one, and the log verifies."""
    found = records(folder / "logs")
    require_kept(found, told)
    assert len(found) == len([each for each in told if each.id])
    done = minivault("logs", "verify", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((folder / "logs").glob("inflight-*"))


def _require_storm_survived(
    folder: Path, fault: Fault, why: str, *options: str, clients: int = 50, step: int = 12
) -> None:
    with serving(folder, *options) as server:
        told = asyncio.run(_storm(server, fault, why, clients, step))
        assert server.stop() == 0
    ends = Counter(each.end if each.id else "refused" for each in told[:clients])
    assert ends["done"], ends
    assert ends["failed"] + ends[""], ends
    _require_all_recorded(folder, told)


def test_fifty_clients_while_the_disk_fills(tmp_path: Path, small_disk: Path) -> None:
    _require_storm_survived(tmp_path, full, "No space left on device", *HALTING)


def test_fifty_clients_at_a_file_size_limit(tmp_path: Path) -> None:
    _require_storm_survived(tmp_path, limited, "File too large", *HALTING)


@pytest.mark.skipif(not FULL, reason="seconds of a model's work: `make faults` runs it")
def test_the_storyteller_while_the_disk_fills(tmp_path: Path, small_disk: Path) -> None:
    _require_storm_survived(
        tmp_path, full, "No space left on device", *STORIES, clients=20, step=40
    )


@pytest.mark.parametrize(
    "fault, why",
    [(a_directory, "Is a directory"), (a_link, "log.jsonl is a symbolic link")],
    ids=["directory", "link"],
)
def test_something_else_stands_where_the_log_was(tmp_path: Path, fault: Fault, why: str) -> None:
    _require_storm_survived(tmp_path, fault, why, *HALTING, clients=20)


@contextmanager
def read_only(server: Served) -> Iterator[None]:
    """No file can be made, renamed or removed in the folder; the open ones still take lines."""
    folder = server.folder / "logs"
    if os.geteuid() == 0:  # whom rights do not hold
        chattr = tool("chattr")
        shut, back = [chattr, "+i", str(folder)], [chattr, "-i", str(folder)]
    else:
        shut, back = ["chmod", "500", str(folder)], ["chmod", "700", str(folder)]
    if subprocess.run(shut, capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable folders")
    try:
        yield
    finally:  # or nobody can clean up
        subprocess.run(back, check=True)


async def _until_refused(port: int) -> list[Heard]:
    told: list[Heard] = []
    while not told or told[-1].id:
        told += await _crowd(port, range(len(told), len(told) + 1), 3)
        assert len(told) < 100
    return told


def test_a_folder_made_read_only_takes_records_until_the_next_file_is_due(tmp_path: Path) -> None:
    async def ask(server: Served) -> list[Heard]:
        told = await _crowd(server.port, range(2), 3)
        with read_only(server):
            told += await _until_refused(server.port)
            assert "not permitted" in (why := await _health(server.port, 503)) or "denied" in why
        await _health(server.port, 200)
        return told + await _crowd(server.port, range(300, 303), 3)

    with serving(tmp_path, "--log-max-bytes", "10000") as server:
        told = asyncio.run(ask(server))
        assert server.stop() == 0
    ends = [each.end for each in told if each.id]
    assert ends[2] == "done", "it gave up before it had to"
    assert [end for end in ends if end != "done"], "nobody was told that a record could not be kept"
    _require_all_recorded(tmp_path, told)
    assert list((tmp_path / "logs").glob("log-*.jsonl"))
