"""One line per accepted request, and none for any other."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from minivault.backends.echo import EchoBackend
from minivault.service import Service
from minivault.settings import Settings
from minivault.web.middleware.audit import AuditMiddleware
from tests.event_stream import parse, text_of
from tests.generations.backends import Reins
from tests.live import LiveServer, live_server, wait_for
from tests.vault.samples import begin
from tests.web.asking import (
    ACCEPTS,
    JSON,
    SSE,
    TEXT,
    ask,
    connection,
    generate,
    in_loop,
    to_end,
    until,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("audit")) as live:
        yield live


async def many(url: str, count: int) -> list[tuple[str, bytes]]:
    """The id and the text of as many requests at once, in three forms."""

    async def one(client: httpx.AsyncClient, number: int) -> tuple[str, bytes]:
        accept = list(ACCEPTS.values())[number % 3]
        body = {"prompt": f"number {number} of many", "max_tokens": 1 + number % 7}
        answer = await client.post("/generate", json=body, headers={"Accept": accept})
        assert answer.status_code == 200
        if accept == TEXT:
            return answer.headers["minivault-id"], answer.content
        if accept == JSON:
            return answer.json()["id"], answer.json()["text"].encode()
        events = parse(answer.content)
        return events[0].json["id"], text_of(events).encode()

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, timeout=60, trust_env=False, verify=False, limits=limits
    ) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)))


def test_fifty_at_once_leave_one_whole_line_each_in_an_unbroken_order(tmp_path: Path) -> None:
    with live_server(tmp_path, EchoBackend(delay=0.002)) as server:
        answers = dict(asyncio.run(many(server.url, 50)))
        lines = server.log.read_bytes().splitlines()  # at once: the line is there before the end
        records = [json.loads(line) for line in lines]
    assert len(answers) == 50
    assert {record["id"]: record["response"].encode() for record in records} == answers
    assert [record["seq"] for record in records] == list(range(1, 51))
    before = ["0" * 64, *(sha256(line).hexdigest() for line in lines)]
    assert [record["prev"] for record in records] == before[:-1]
    assert {record["client"] for record in records} == {"sse", "json", "text"}


def test_a_line_has_the_fields_of_the_contract_and_is_private(server: LiveServer) -> None:
    generate(server, JSON, prompt="Größe 🧚\n", max_tokens=2)
    line = server.log.read_bytes().splitlines()[-1]
    record = json.loads(line)
    assert list(record)[:3] == ["timestamp", "prompt", "response"]
    names = "id finish_reason model engine params seed usage timings events client salt seq prev"
    assert set(names.split()) <= set(record)
    assert record["prompt"] == "Größe 🧚\n"
    assert line.isascii()
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600


def refused(server: LiveServer) -> Iterator[tuple[int, httpx.Response]]:
    """Requests that are not accepted, and the status that they get."""
    body = {"prompt": "Hello"}
    yield 422, ask(server, "POST", "/generate", json=body | {"top_k": -1})
    yield 422, generate(server, prompt="word " * 5000)
    yield 400, ask(server, "POST", "/generate", content=b"{")
    yield (
        403,
        ask(server, "POST", "/generate", json=body, headers={"Origin": "https://evil.example"}),
    )
    yield 403, ask(server, "GET", "/generate?prompt=a", headers={"Sec-Fetch-Site": "cross-site"})
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
    yield 403, ask(server, "GET", "/generate?prompt=a", headers=typed)
    yield 400, ask(server, "POST", "/generate", json=body, headers={"Host": "evil.example"})
    yield 413, ask(server, "POST", "/generate", content=b" " * 300_000)
    form = {"Content-Type": "text/plain", "Origin": server.url}
    yield 415, ask(server, "POST", "/generate", content=b'{"prompt":"a"}', headers=form)
    yield 405, ask(server, "PUT", "/generate", json=body)
    yield 404, ask(server, "DELETE", "/generate/unknown")
    yield 200, ask(server, "HEAD", "/generate?prompt=a")
    yield 200, ask(server, "GET", "/generate?prompt=a", SSE, headers={"Last-Event-ID": "x.1"})


def test_what_is_not_accepted_leaves_no_line(server: LiveServer) -> None:
    generate(server)
    before = len(server.records())
    for status, answer in refused(server):
        assert answer.status_code == status, answer.request
    assert len(server.records()) == before
    assert b"evil" not in server.log.read_bytes()


def test_what_is_refused_for_want_of_room_or_time_leaves_no_line(tmp_path: Path) -> None:
    reins = Reins()
    with live_server(tmp_path, reins, max_running=1, max_waiting=0) as server:
        with connection(server, "POST", "/generate", SSE, {"prompt": "a", "max_tokens": 2}) as one:
            until(one, "start")
            assert generate(server).status_code == 503
            server.service.drain()
            assert generate(server).status_code == 503
            reins.go()
            until(one, "done")
        assert [record["prompt"] for record in server.records()] == ["a"]


def test_attaching_and_following_add_no_line(server: LiveServer) -> None:
    first = generate(server, JSON, key="only-one-line", max_tokens=3).json()
    before = len(server.records())
    assert generate(server, SSE, key="only-one-line", max_tokens=3).status_code == 200
    assert ask(server, "GET", f"/generate/{first['id']}", TEXT).text == first["text"]
    assert len(server.records()) == before


@pytest.mark.parametrize("how", ["cancelled", "disconnected", "error"])
def test_what_was_said_before_an_early_end_is_in_its_line(tmp_path: Path, how: str) -> None:
    reins = Reins(allowed=9, fail_at=2) if how == "error" else Reins(allowed=2)
    with live_server(tmp_path, reins) as server:
        with connection(server, "POST", "/generate", TEXT, {"prompt": "a", "max_tokens": 9}) as one:
            head = until(one, "\r\n\r\n")

            id = head.lower().partition(b"minivault-id: ")[2][:64]
            if how == "cancelled":
                until_said(server)
                [real] = in_loop(server, lambda: [x.id for x in server.service.registry.shelf])
                assert real.lower().encode() == id
                ask(server, "DELETE", f"/generate/{real}")
            elif how == "disconnected":
                until_said(server)
            else:
                to_end(one)
        wait_for(lambda: server.log.exists() and server.records())
        [record] = server.records()
    assert record["finish_reason"] == how
    assert len(record["response"].split()) == 2
    assert record["usage"]["completion_tokens"] == 2


def until_said(server: LiveServer) -> None:
    """Returns when two words were said."""
    [generation] = in_loop(server, lambda: list(server.service.registry.shelf))
    wait_for(lambda: len(generation.events) == 3)


@pytest.mark.parametrize("error", [RuntimeError("CANARY"), asyncio.CancelledError()])
def test_what_an_application_leaves_open_is_committed_as_an_error(
    tmp_path: Path, error: BaseException
) -> None:
    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["state"]["audit"].begin(begin("a" * 64))
        raise error

    async def scenario() -> Any:
        service = Service.opened(Settings(logs_dir=tmp_path), EchoBackend())
        await service.start()
        await service.ready()
        nothing: Any = None
        with pytest.raises(type(error)):
            await AuditMiddleware(careless, service)({"type": "http"}, nothing, nothing)
        await service.close()

    asyncio.run(scenario())
    [line] = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["finish_reason"] == "error"
    assert "CANARY" not in line


def test_what_is_no_http_passes_by(tmp_path: Path) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def scenario() -> None:
        service = Service.opened(Settings(logs_dir=tmp_path), EchoBackend())
        nothing: Any = None
        await AuditMiddleware(app, service)({"type": "lifespan"}, nothing, nothing)

    asyncio.run(scenario())
    assert seen == [{"type": "lifespan"}]
