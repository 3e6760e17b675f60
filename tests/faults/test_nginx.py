"""The nginx block of docs/operating.md, word for word, in a real nginx before a real server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish, Piece
from minivault.backends.base import Request as Asked
from minivault.backends.echo import EchoBackend
from minivault.web import sse
from tests.echoes import Failing
from tests.event_stream import text_of
from tests.faults.crowd import Answer, request, talk
from tests.faults.reader import event_source
from tests.live import LiveServer, live_server, wait_for
from tests.ports import reserved_port
from tests.processes import ROOT, Served, serving
from tests.tools import tool

pytestmark = pytest.mark.slow

CANARY = "canary-7f3a"
EMPTY = (200, "text/event-stream", b"retry: 1000\n\n")
HEAD = """
pid nginx.pid;
error_log logs/error.log info;
events { worker_connections 512; }
http {
    client_body_temp_path bodies 1;
    proxy_temp_path answers 1;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
"""


def block() -> str:
    """The nginx block of the docs."""
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- nginx -->\n```nginx\n(.*?)```", page, re.DOTALL)
    assert found, "docs/operating.md has no nginx block"
    return found[1]


@dataclass
class Nginx:
    """A running nginx; `folder` has its logs and whatever else it writes."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_log(self) -> str:
        return (self.folder / "logs" / "minivault.log").read_text(encoding="utf-8")

    @property
    def empty_answers(self) -> int:
        return self.access_log.count(f" 200 {len(EMPTY[2])}\n")


@contextmanager
def nginx(
    folder: Path, upstream: int, *, change: Callable[[str], str] = lambda text: text
) -> Iterator[Nginx]:
    """The block with its ports and the folder of its log replaced, and nothing else."""
    with reserved_port() as port:
        yield from _running(Nginx(folder / "nginx", port), upstream, change)


def _running(running: Nginx, upstream: int, change: Callable[[str], str]) -> Iterator[Nginx]:
    program = tool("nginx")
    (running.folder / "logs").mkdir(parents=True)
    text = replaced(block(), "127.0.0.1:8000", f"127.0.0.1:{upstream}")
    text = replaced(text, "listen 8080", f"listen 127.0.0.1:{running.port}")
    text = replaced(text, "/var/log/nginx/", f"{running.folder}/logs/")
    user = "user root;" if os.geteuid() == 0 else ""
    config = running.folder / "nginx.conf"
    config.write_text(f"{user}{HEAD}{change(text)}}}\n", encoding="utf-8")
    errors = str(running.folder / "logs" / "error.log")
    command = [program, "-p", str(running.folder), "-c", str(config), "-e", errors]
    process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or listens(running.port))
        assert process.poll() is None, Path(errors).read_text()
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old} does not stand once in the block"
    return text.replace(old, new)


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


class Gated(EchoBackend):
    """Says one word, and the others once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    async def generate(self, asked: Asked) -> AsyncGenerator[Piece | Finish, None]:
        async for item in super().generate(asked):
            yield item
            while not self.gate.is_set():
                await asyncio.sleep(0.01)


@contextmanager
def proxied(
    tmp_path: Path, backend: EchoBackend, **options: Any
) -> Iterator[tuple[LiveServer, Nginx]]:
    with (
        reserved_port() as port,
        live_server(tmp_path, backend, port=port, allowed_host=["127.0.0.1"], **options) as server,
        nginx(tmp_path, port) as proxy,
    ):
        yield server, proxy


def fetch(port: int, **options: Any) -> Answer:
    return asyncio.run(talk(port, request(**options)))


def read_one_piece(port: int, **options: Any) -> Answer:
    """Hangs up after the first piece."""
    asked = request(**options)
    return asyncio.run(talk(port, asked, vanish=lambda received: b"alpha" in received))


def test_events_come_at_once_and_the_rest_comes_to_who_returns(tmp_path: Path) -> None:
    backend = Gated()
    with proxied(tmp_path, backend) as (server, proxy):
        server.service.registry._grace = 3600
        begin = read_one_piece(proxy.port, prompt="alpha", max_tokens=9)
        assert server.service.registry.statistics()["running"] == 1
        backend.gate.set()
        rest = fetch(proxy.port, prompt="alpha", max_tokens=9, last=begin.events[-1].id)
        [record] = server.records()
    assert [event.name for event in begin.events] == ["start", "message"]
    assert rest.events[-1].name == "done"
    assert text_of(begin.events) + text_of(rest.events) == record["response"]


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_plain_text_comes_at_once_and_who_leaves_is_noticed(tmp_path: Path, accept: str) -> None:
    body = {"prompt": "alpha", "max_tokens": 9}
    with proxied(tmp_path, Gated()) as (server, proxy):
        read_one_piece(proxy.port, method="POST", accept=accept, body=body)
        wait_for(lambda: server.log.exists() and server.records())
        assert server.records()[0]["finish_reason"] == "disconnected"


def test_a_text_that_failed_does_not_look_whole(tmp_path: Path) -> None:
    with proxied(tmp_path, Failing()) as (_, proxy):
        asked = {"method": "POST", "accept": "text/plain", "body": {"prompt": "alpha"}}
        assert not fetch(proxy.port, **asked).whole


def test_the_time_that_nginx_waits_is_several_pings() -> None:
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", block())
    assert int(seconds) >= 3 * sse.PING_SECONDS


def test_each_ping_comes_through_a_silent_stream_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "PING_SECONDS", 0.05)
    backend = Gated()

    def thrice(received: bytes) -> bool:
        if received.count(b": ping") >= 3:
            backend.gate.set()
        return False

    with proxied(tmp_path, backend) as (_, proxy):
        asked = request(prompt="alpha", max_tokens=2)
        answer = asyncio.run(talk(proxy.port, asked, vanish=thrice))
    assert answer.whole


def test_without_pings_nginx_loses_its_patience(tmp_path: Path) -> None:
    """After the time that a stream with pings need never take between two reads."""

    def hasty(text: str) -> str:
        return replaced(text, "proxy_read_timeout 60s;", "proxy_read_timeout 1s;")

    backend = Gated()
    with (
        live_server(tmp_path, backend, allowed_host=["127.0.0.1"]) as server,
        nginx(tmp_path, server.port, change=hasty) as proxy,
    ):
        answer = fetch(proxy.port, prompt="alpha", max_tokens=2)
        backend.gate.set()
    assert not answer.whole
    assert b": ping" not in answer.body


def test_no_prompt_is_in_any_file_of_nginx(tmp_path: Path) -> None:
    long = {"prompt": f"{CANARY} " * 10_000, "max_tokens": 1}
    with proxied(tmp_path, EchoBackend(context_length=20_000)) as (server, proxy):
        assert fetch(proxy.port, prompt=CANARY, max_tokens=1).status == 200
        assert fetch(proxy.port, prompt=CANARY, wrong="field").status == 422
        assert fetch(proxy.port, prompt=CANARY, lastEventId=f"{CANARY}.1").status == 200
        assert fetch(proxy.port, method="POST", accept="text/plain", body=long).status == 200
        server.stop()
        wait_for(lambda: not listens(server.port))
        for accept in ("text/event-stream", "text/plain"):
            fetch(proxy.port, prompt=CANARY, accept=accept)
        wait_for(lambda: proxy.access_log.count("\n") == 6)
        asyncio.run(talk(proxy.port, f"GET /generate?{CANARY} HTTP/9\r\n\r\n".encode()))
        assert '"GET /generate" 200' in proxy.access_log
        files = [path for path in proxy.folder.rglob("*") if path.is_file()]
        assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
        assert list((proxy.folder / "bodies").iterdir()) == []


def test_a_server_that_is_down_is_an_empty_stream_to_readers_and_502_to_others(
    tmp_path: Path, port: int
) -> None:
    with nginx(tmp_path, port) as proxy:
        answers = [
            fetch(proxy.port, prompt="alpha"),
            fetch(proxy.port, prompt="alpha", last="x.1"),
            fetch(proxy.port, method="POST", body={"prompt": "alpha"}),
        ]
        for answer in answers:
            assert (answer.status, answer.headers["content-type"], answer.body) == EMPTY
        assert fetch(proxy.port, accept="*/*", prompt="alpha").status == 502
        assert fetch(proxy.port, accept="*/*", target="/").status == 502


def test_a_full_server_is_an_empty_stream_to_readers_and_503_to_others(tmp_path: Path) -> None:
    backend = Gated()
    with proxied(tmp_path, backend, max_running=1, max_waiting=0) as (server, proxy):
        key = {"prompt": "alpha", "key": "my-key-1"}
        running = threading.Thread(target=fetch, args=(proxy.port,), kwargs=key)
        running.start()
        wait_for(lambda: server.service.registry.statistics()["running"] == 1)
        reader = fetch(proxy.port, prompt="beta")
        assert (reader.status, reader.headers["content-type"], reader.body) == EMPTY
        other = fetch(proxy.port, accept="application/json", prompt="beta")
        assert (other.status, other.headers["retry-after"]) == (503, "2")
        assert other.headers["content-type"] == "application/problem+json"
        assert other.json["title"] == "Queue full"
        server.service.drain()
        health = fetch(proxy.port, target="/health", accept="*/*")
        assert (health.status, health.json["status"]) == (503, "draining")
        backend.gate.set()
        running.join()


def test_an_event_source_outlives_the_server_behind_nginx(tmp_path: Path, port: int) -> None:
    at_port = ("--port", str(port), "--allowed-host", "127.0.0.1")
    halting = ("--backend", "tests.echoes:Halting", *at_port)
    asked: dict[str, Any] = {"prompt": "the quick brown fox", "max_tokens": 300, "seed": 7}
    with nginx(tmp_path, port) as proxy, event_source(proxy.port, **asked) as reader:
        wait_for(lambda: proxy.empty_answers > 0)  # nobody is there yet: it comes again
        with serving(tmp_path, *halting, "--drain", "0") as first:
            wait_for(lambda: "minivault_num_followers 1.0" in page(first))
            assert first.stop() == 0
        before = proxy.empty_answers
        wait_for(lambda: proxy.empty_answers > before)
        (tmp_path / "go").touch()
        with serving(tmp_path, *halting) as second:
            seen = reader.seen()
            records = second.records()
    assert (seen.end, seen.is_seamless, len(seen.ids)) == ("done", True, 300)
    assert [record["finish_reason"] for record in records] == ["interrupted", "length"]
    assert records[1]["response"] == seen.text


def page(server: Served) -> str:
    with urllib.request.urlopen(f"{server.url}metrics", timeout=60) as answer:
        return str(answer.read())
