"""Crowds: many clients at once, clients that vanish, clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.echo import EchoBackend
from tests import stories
from tests.event_stream import text_of
from tests.faults.crowd import Answer, request, talk
from tests.faults.footprint import footprint
from tests.live import LiveServer, live_server, wait_for
from tests.processes import Served, read_until, serving

pytestmark = pytest.mark.slow

CROWD = 200
ROUNDS = 5 if os.environ.get("MINIVAULT_FULL") else 1
WARM = 3
POOL = min(32, (os.cpu_count() or 1) + 4)  # so many threads asyncio may start for its own
MEMORY = 8 * 2**20
TCP_REPAIR = 19  # Linux: closing such a socket sends nothing
VANISH: list[tuple[bytes, bool]] = [(b"", False), (b"HTTP", True), (b"event: start", False)]


async def crowd(port: int, count: int = CROWD, **options: Any) -> list[Answer]:
    """So many requests at once, each with a prompt of its own unless the options name one."""
    prompts = [f"word{number} and more words" for number in range(count)]
    asked = [request(**({"prompt": prompt} | options)) for prompt in prompts]
    return await asyncio.gather(*(talk(port, each, seconds=120) for each in asked))


async def vanishing_crowd(port: int) -> None:
    """They hang up at once, in the answer's head, or after their first event; FIN or RST."""
    await asyncio.gather(
        *(
            talk(
                port,
                request(prompt=f"word{number}", max_tokens=400),
                vanish=lambda received, upto=upto: upto in received,  # type: ignore[misc]
                reset=reset,
            )
            for number in range(CROWD)
            for upto, reset in [VANISH[number % len(VANISH)]]
        )
    )


class Unending(EchoBackend):
    """Says one word, and then no more."""

    async def generate(self, asked: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece(asked.prompt)
        await asyncio.Event().wait()


class Gated(EchoBackend):
    """Says nothing until the gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    async def generate(self, asked: Request) -> AsyncGenerator[Piece | Finish, None]:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        async for item in super().generate(asked):
            yield item


def metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=30) as answer:
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
    return {name: float(value) for name, _, value in lines if name[0] != "#"}


def open_work(url: str) -> float:
    names = ("num_requests_running", "num_requests_waiting", "num_followers", "vault_open")
    numbers = metrics(url)
    return sum(numbers[f"minivault_{name}"] for name in names)


async def newcomer(port: int, **asked: Any) -> Answer:
    """Goes with the first piece of the text."""
    return await talk(port, request(**asked), vanish=lambda got: b'data: {"text"' in got)


def test_after_two_hundred_vanished_clients_a_newcomer_takes_the_place_of_one(
    tmp_path: Path,
) -> None:
    """None of theirs would ever end."""

    async def storm(port: int) -> Answer:
        await vanishing_crowd(port)
        return await newcomer(port, prompt="newcomer", max_tokens=50)

    with live_server(tmp_path, Unending(), max_running=4) as server:
        server.service.registry._grace = 3600
        first = asyncio.run(storm(server.port))
        wait_for(lambda: server.service.registry.statistics()["running"] == 4)
    pieces = [event.json for event in first.events if event.name == "message"]
    assert pieces == [{"text": "newcomer"}]


def test_where_memory_is_short_a_reader_takes_the_place_of_one_of_thirty_vanished(
    tmp_path: Path,
) -> None:
    """All of them would have places, but the memory holds three at a time."""

    async def storm(port: int) -> Answer:
        left = [request(prompt=f"left {number}", max_tokens=400) for number in range(30)]
        gone = [talk(port, each, vanish=lambda got: b"event: start" in got) for each in left]
        await asyncio.gather(*gone)
        return await newcomer(port, prompt="a reader", max_tokens=100)

    backend = stories.Halting(dtype="float32", kv_memory=8 << 20)
    with live_server(tmp_path, backend) as server:
        server.service.registry._grace = 3600
        assert asyncio.run(storm(server.port)).events[-1].name == "message"


def test_two_hundred_followers_of_one_generation_get_the_same_bytes(tmp_path: Path) -> None:
    with live_server(tmp_path, EchoBackend(delay=0.005)) as server:
        asked: dict[str, Any] = {"prompt": "one for all", "max_tokens": 100, "key": "for-everybody"}
        answers = asyncio.run(crowd(server.port, **asked))
        [record] = server.records()
    pieces = {tuple((each.id, each.data) for each in one.events if each.id) for one in answers}
    assert len(pieces) == 1
    assert all(answer.whole for answer in answers)
    assert text_of(answers[0].events) == record["response"]


def test_of_two_hundred_prompts_as_many_as_fit_are_accepted_and_the_others_told_to_wait(
    tmp_path: Path,
) -> None:
    async def flood(server: LiveServer) -> list[Answer]:
        answers = asyncio.create_task(crowd(server.port, max_tokens=3))
        await asyncio.to_thread(wait_for, lambda: open_requests(server) == 16)
        gate.set()
        return await answers

    gate = threading.Event()
    with live_server(tmp_path, Gated(gate), max_running=6, max_waiting=10) as server:
        answers = asyncio.run(flood(server))
        records = server.records()
    assert Counter(answer.status for answer in answers) == {200: 16, 503: CROWD - 16}
    for answer in answers:
        if answer.status == 200:
            assert answer.events[-1].name == "done"
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json["title"] == "Queue full"
    assert len(records) == 16


def open_requests(server: LiveServer) -> float:
    """Running and waiting ones, once as many connections as accepted ones are left."""
    counts = server.service.registry.statistics()
    connections = len(server.server.server_state.connections)
    return counts["running"] + counts["waiting"] if connections == 16 else 0


def test_a_storm_leaves_no_files_threads_or_memory_behind(tmp_path: Path) -> None:
    """The first rounds fill what is kept on purpose: threads of the pool, ended texts.

    Memory comes and goes with the collector and the allocator, so the least of several rounds
    counts; `make soak` measures its slope.
    """
    held = []
    options = ("--max-running", "8", "--max-waiting", "300")
    with serving(tmp_path, *options) as server:
        for _ in range(ROUNDS + WARM):
            asyncio.run(vanishing_crowd(server.port))
            asyncio.run(crowd(server.port, max_tokens=20))
            wait_for(lambda: open_work(server.url) == 0)
            wait_for(lambda: len(sockets(server)) == 1)  # the listening one
            held.append(footprint(server.process.pid))
        assert server.stop() == 0
        assert server.complaints == []
        accepted = server.records()
    warm, later = held[:WARM], held[WARM:]
    assert {each.files for each in later} == {warm[-1].files}
    assert max(each.threads for each in later) <= min(each.threads for each in held) + POOL
    least = min(each.resident for each in warm[1:])
    assert min(each.resident for each in later[-2:]) - least < MEMORY
    assert len(accepted) > CROWD


def sockets(server: Served) -> list[str]:
    """The process's sockets, without those of asyncio itself."""
    found = []
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(entry.readlink()))
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    return [each for each in found if each.removeprefix("socket:[").rstrip("]") in inodes]


def test_a_storm_leaves_no_tasks_behind(tmp_path: Path) -> None:
    with live_server(tmp_path, max_running=4) as server:
        loop = server.server.servers[0].get_loop()

        def settled() -> int:
            wait_for(lambda: not server.server.server_state.connections)
            wait_for(lambda: server.service.registry.statistics()["running"] == 0)
            wait_for(lambda: not server.server.server_state.tasks)  # answers outlive connections
            return len(asyncio.all_tasks(loop))

        asyncio.run(crowd(server.port, 3))
        before = settled()
        asyncio.run(vanishing_crowd(server.port))
        asyncio.run(crowd(server.port, max_tokens=5))
        wait_for(lambda: settled() == before)
        registry = server.service.registry
        wait_for(lambda: not registry.shelf.open())
        wait_for(lambda: len(server.records()) == registry.vault.statistics()["seq"])


def test_who_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    """Four megabytes for a client that takes four kilobytes: its text is finished all the same."""
    word = "x" * 2000
    with serving(tmp_path, "--backend", "tests.echoes:Enduring") as server:
        deaf = [deaf_client(server, prompt=word, max_tokens=2000) for _ in range(2)]
        answers = asyncio.run(crowd(server.port, 20, max_tokens=20))
        assert all(answer.events[-1].name == "done" for answer in answers)
        wait_for(lambda: open_generations(server.url) == 0, seconds=240)
        assert metrics(server.url)["minivault_num_followers"] == 2, "they do not read, and stay"
        for connection in deaf:
            connection.close()
        wait_for(lambda: open_work(server.url) == 0)
        records = server.records()
        assert server.complaints == []
    assert [len(record["response"]) for record in records].count(2000 * 2001) == 2
    assert Counter(record["finish_reason"] for record in records) == {"length": 22}


def deaf_client(server: Served, **query: Any) -> socket.socket:
    connection = server.connect(receive_buffer=4096)
    connection.sendall(request(**query))
    return connection


def open_generations(url: str) -> float:
    numbers = metrics(url)
    return sum(numbers[f"minivault_num_requests_{name}"] for name in ("running", "waiting"))


def test_a_peer_that_is_gone_without_a_word_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its machine lost power: no FIN, no RST, until something is sent to it."""
    with live_server(tmp_path, EchoBackend(delay=0.02, context_length=10**7)) as server:
        server.service.registry._grace = 0.2
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        silent.sendall(request(prompt="a b c", max_tokens=10**6))
        read_until(silent, b"event: start")
        try:
            silent.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("only root can make a connection vanish")
        silent.close()
        answers = asyncio.run(crowd(server.port, 10, max_tokens=5))
        assert all(answer.events[-1].name == "done" for answer in answers)
        wait_for(lambda: metrics(server.url)["minivault_num_followers"] == 0)
        wait_for(lambda: len(server.records()) == 11)
        [gone] = [record for record in server.records() if record["prompt"] == "a b c"]
        assert gone["finish_reason"] == "disconnected"
    assert [each for each in caplog.records if each.levelname != "INFO"] == []


def test_fifty_clients_at_once_are_all_served_by_the_storyteller(tmp_path: Path) -> None:
    prompts = ["Once upon a time", "The old king", "A little rabbit", "Deep in the forest"]
    with serving(tmp_path, "--model", "storyteller", "--dtype", "float32") as server:

        async def everybody() -> list[Answer]:
            asked = [
                request(prompt=prompts[number % 4], max_tokens=10, seed=number % 8)
                for number in range(50)
            ]
            return await asyncio.gather(*(talk(server.port, each, seconds=100) for each in asked))

        answers = asyncio.run(everybody())
        records = server.records()
        assert server.complaints == []
    assert [answer.events[-1].name for answer in answers] == ["done"] * 50
    by_seed = {number % 8: text_of(answers[number].events) for number in range(8)}
    assert all(text_of(one.events) == by_seed[n % 8] for n, one in enumerate(answers))
    assert len(records) == 50
