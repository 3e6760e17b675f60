"""HTTP as clients speak it to a live server: whole answers, and connections to hold or to drop."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from tests.event_stream import Received, parse
from tests.live import LiveServer

T = TypeVar("T")

SSE, JSON, TEXT = "text/event-stream", "application/json", "text/plain"
ACCEPTS = {"sse": SSE, "json": JSON, "text": TEXT}


def ask(
    server: LiveServer, method: str, path: str, accept: str = "*/*", **options: Any
) -> httpx.Response:
    """A whole answer. `json`, `content`, `params` and `headers` as httpx has them."""
    headers = httpx.Headers(options.pop("headers", None))
    headers.setdefault("Accept", accept)
    with httpx.Client(timeout=60, trust_env=False, verify=False) as client:
        return client.request(method, server.url + path, headers=headers, **options)


def generate(server: LiveServer, accept: str = JSON, **fields: Any) -> httpx.Response:
    """A whole answer of POST /generate."""
    return ask(server, "POST", "/generate", accept, json={"prompt": "one two three"} | fields)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that a refusal tells; fails if it is none."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    data: dict[str, Any] = response.json()
    assert data["status"] == status
    assert data["type"]
    assert data["title"]
    assert data["detail"]
    return data


def fields(response: httpx.Response) -> list[str]:
    """Which fields a 422 names."""
    return [each["field"] for each in problem(response, 422)["errors"]]


def request_bytes(method: str, path: str, accept: str, body: Any = None, **headers: str) -> bytes:
    """A request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Accept: {accept}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(content)}"] if body is not None else []
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


@contextmanager
def connection(
    server: LiveServer, method: str, path: str, accept: str, body: Any = None, **headers: str
) -> Iterator[socket.socket]:
    """A connection over which a request went; closed at the end, whatever came."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as opened:
        opened.sendall(request_bytes(method, path, accept, body, **headers))
        yield opened


def until(opened: socket.socket, word: str) -> bytes:
    """What comes up to and with `word`; fails if the server hangs up or keeps it for 20 s."""
    received, deadline = b"", time.monotonic() + 20
    while word.encode() not in received:
        assert time.monotonic() < deadline, f"no {word!r} in 20 s: {received!r}"
        chunk = opened.recv(65536)
        assert chunk, f"hung up before {word!r}: {received!r}"
        received += chunk
    return received


def to_end(opened: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    return b"".join(iter(lambda: opened.recv(65536), b""))


def events(response: httpx.Response) -> list[Received]:
    """All events of a whole stream."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return parse(response.content)


def in_loop(server: LiveServer, work: Callable[[], T]) -> T:
    """Does something where all of the server's state lives: in its event loop."""

    async def do() -> T:
        return work()

    return asyncio.run_coroutine_threadsafe(do(), _loop(server)).result(20)


def counts(server: LiveServer) -> dict[str, float]:
    """How many generations run and wait, and how many follow them."""
    return in_loop(server, server.service.registry.statistics)


def told_to_end(server: LiveServer) -> None:
    """What `minivault serve` does on its first signal."""
    asyncio.run_coroutine_threadsafe(server.service.drained(), _loop(server)).result(20)


def _loop(server: LiveServer) -> asyncio.AbstractEventLoop:
    task = server.service._task
    assert task is not None
    return task.get_loop()
