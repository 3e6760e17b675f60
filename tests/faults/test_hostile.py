"""Requests as no honest client sends them: each gets its answer, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from tests.faults.crowd import Answer, read_answer
from tests.processes import Served, read_to_end, read_until, serving

pytestmark = pytest.mark.slow

CANARY = "canary-4be1"
OK = json.dumps({"prompt": CANARY, "max_tokens": 2}).encode()
DEEP = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HUGE = json.dumps({"prompt": CANARY * 30_000}).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile"), "--backend", "tests.echoes:Halting") as served:
        yield served


def post(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    """A POST whose headers are `lines` and, unless it is chunked, the length."""
    size = b"" if CHUNKED in lines else b"Content-Length: %d\r\n" % (length or len(body))
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return head + size + b"".join(lines) + b"\r\n" + body


def chunks(body: bytes, size: int = 50_000) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def get(target: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    head = b"GET " + target + b" HTTP/" + version + b"\r\nHost: localhost\r\nConnection: close\r\n"
    return head + b"".join(lines) + b"\r\n"


def send(server: Served, raw: bytes) -> Answer:
    """The answer; who is hung up on while it sends has its answer all the same, or a reset."""
    connection = server.connect()
    received = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(raw)
    with contextlib.suppress(ConnectionError):
        while block := connection.recv(65536):
            received += block
    connection.close()
    return read_answer(received)


def assert_healthy(server: Served) -> None:
    """It works as before, and has neither complained nor told anybody the prompt."""
    assert send(server, post(OK)).body.decode() == f" {CANARY} {CANARY}"
    warning = "warning: Invalid HTTP request received."
    assert [line for line in server.complaints if line != warning] == []
    assert CANARY not in server.errors


BODIES: dict[str, tuple[bytes, int]] = {
    "huge": (post(HUGE), 413),
    "huge and announced only": (post(b"{", length=10**12), 413),
    "huge in chunks": (post(chunks(HUGE), CHUNKED), 413),
    "in chunks": (post(chunks(OK, 3), CHUNKED), 200),
    "compressed": (post(b"\x1f\x8b\x08\x00" + OK, b"Content-Encoding: gzip\r\n"), 415),
    "compressed in chunks": (post(chunks(OK), CHUNKED, b"Content-Encoding: br\r\n"), 415),
    "a transfer that is compressed": (post(OK, b"Transfer-Encoding: gzip, chunked\r\n"), 400),
    "length and chunks": (post(chunks(OK), b"Transfer-Encoding: chunked \r\n"), 200),
    "two lengths": (post(OK, b"Content-Length: 5\r\n"), 400),
    "a negative length": (post(OK, b"Content-Length: -5\r\n"), 400),
    "a chunk of no size": (post(b"zz\r\n" + OK, CHUNKED), 400),
    "a chunk of endless size": (post(b"f" * 40 + b"\r\n" + OK, CHUNKED), 400),
    "empty": (post(b""), 400),
    "half a string": (post(OK[:-5]), 400),
    "not JSON": (post(CANARY.encode()), 400),
    "not UTF-8": (post(OK.replace(b"canary", b"\xff\xfe\xfd")), 400),
    "UTF-16": (post(OK.decode().encode("utf-16")), 400),
    "lone surrogates": (post(OK.replace(b"canary", b"\\ud800")), 422),
    "deep": (post(DEEP), 400),
    "a list": (post(b"[" + OK + b"]"), 400),
    "a number of 5000 digits": (post(b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}"), 400),
    "not a number": (post(b'{"prompt": "x", "temperature": NaN}'), 422),
    "a field twice": (post(b'{"prompt": "a", "prompt": "' + CANARY.encode() + b'"}'), 422),
    "a form": (post(b"prompt=" + CANARY.encode(), b"Origin: http://localhost\r\n"), 415),
}

HEADS: dict[str, tuple[bytes, int]] = {
    "raw bytes in the address": (get(b"/generate?prompt=\xff\xfe"), 400),
    "half an escape": (get(b"/generate?prompt=%ff%f&max_tokens=1"), 400),
    "NUL in the address": (get(b"/generate?prompt=\x00"), 400),
    "an absolute address": (get(b"http://localhost/health"), 200),
    "an absolute address elsewhere": (get(b"http://evil.example/generate?prompt=x"), 400),
    "HTTP/1.0": (get(b"/health", version=b"1.0"), 200),
    "HTTP/1.0 without a host": (b"GET /health HTTP/1.0\r\n\r\n", 400),
    "HTTP/3.7": (get(b"/health", version=b"3.7"), 200),
    "two hosts": (get(b"/health", b"Host: evil.example\r\n"), 400),
    "bare line feeds": (get(b"/health").replace(b"\r\n", b"\n"), 200),
    "a folded header": (get(b"/health", b"X-A: 1\r\n  2\r\n"), 200),
    "a header without a name": (get(b"/health", b": x\r\n"), 400),
    "NUL in a header": (get(b"/health", b"X-A: \x00\r\n"), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a method of its own": (get(b"/generate").replace(b"GET", b"BREW"), 405),
    "a tunnel": (get(b"evil.example:443").replace(b"GET", b"CONNECT"), 404),
    "the way up": (get(b"/static/../../../../etc/passwd"), 404),
    "the way up, escaped": (get(b"/static/%2e%2e/%2e%2e/pyproject.toml"), 404),
    "an id that is no id": (get(b"/generate?prompt=x", b"Last-Event-ID: \xff\xfe.\xfd\r\n"), 404),
    "an id of 60 kB": (
        get(b"/generate?prompt=x", b"Last-Event-ID: " + b"A" * 60_000 + b"\r\n"),
        404,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_strange_body_is_answered_by_its_status(server: Served, name: str) -> None:
    raw, status = BODIES[name]
    answer = send(server, raw)
    assert answer.status in (status, 0) if status == 413 else answer.status == status
    assert_problem(answer)
    assert_healthy(server)


@pytest.mark.parametrize("name", HEADS)
def test_a_strange_head_is_answered_by_its_status(server: Served, name: str) -> None:
    raw, status = HEADS[name]
    answer = send(server, raw)
    assert answer.status == status
    assert_problem(answer)
    assert_healthy(server)


@pytest.mark.parametrize(
    "raw",
    [
        get(b"/generate?max_tokens=1&prompt=" + CANARY.encode() * 7000),
        get(b"/health", *[b"X-%d: 1\r\n" % n for n in range(10_000)]),
    ],
    ids=["address", "headers"],
)
def test_a_head_of_a_hundred_kilobytes_is_read_at_once_or_refused(
    server: Served, raw: bytes
) -> None:
    """Which of the two depends on how the network cuts it."""
    answer = send(server, raw)
    assert answer.status in (0, 200, 400)
    assert_healthy(server)


def assert_problem(answer: Answer) -> None:
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status
        assert CANARY.encode() not in answer.body


def test_what_is_pipelined_during_a_stream_waits_for_its_end(server: Served) -> None:
    connection = server.connect()
    body = json.dumps({"prompt": CANARY, "max_tokens": 20}).encode()
    ask = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(ask + body)
    begin = read_until(connection, CANARY.encode())
    connection.sendall(get(b"/health").replace(b"Connection: close\r\n", b"") + post(OK))
    (server.folder / "go").touch()
    received = begin + read_to_end(connection)
    answers = received.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"200"]
    assert [answer.count(CANARY.encode()) for answer in answers] == [20, 0, 2]
    assert_healthy(server)


def test_a_hundred_requests_in_one_block_are_answered_one_by_one(server: Served) -> None:
    one = get(b"/health").replace(b"Connection: close\r\n", b"")
    connection = server.connect()
    connection.sendall(one * 99 + get(b"/health"))
    assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 100
    assert_healthy(server)


@pytest.mark.parametrize("half", [post(OK)[:40], post(OK)[:-3], post(chunks(OK), CHUNKED)[:-5]])
def test_half_a_request_and_gone(server: Served, half: bytes) -> None:
    before = len(server.records())
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        connection = server.connect()
        connection.sendall(half)
        connection.shutdown(how)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(65536)[:12] in (b"", b"HTTP/1.1 400")
        connection.close()
    assert_healthy(server)
    assert len(server.records()) == before + 1


def test_who_sends_and_half_closes_is_taken_as_gone(server: Served) -> None:
    """No text of theirs would ever end."""
    (server.folder / "go").unlink()
    connection = server.connect()
    connection.sendall(post(OK.replace(b": 2", b": 4000")))
    connection.shutdown(socket.SHUT_WR)
    assert f" {CANARY}".encode() * 11 not in read_to_end(connection)
    assert_healthy(server)
    assert server.stop() == 0
    [long] = [record for record in server.records() if record["params"]["max_tokens"] == 4000]
    assert long["finish_reason"] == "disconnected"
