"""The deadline of headers and body, on real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from minivault import protocol
from minivault.http1 import MOST_CHUNKS
from minivault.server import listen
from minivault.settings import Settings
from tests.live import wait_for

pytestmark = pytest.mark.slow

SHORT = 0.3  # where nothing has to be in time

Connect = Callable[[], socket.socket]
SetDeadline = Callable[[float], None]
DeadlineOf = Callable[[socket.socket], asyncio.TimerHandle]


async def length(request: Request) -> Response:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return Response()


async def early(request: Request) -> Response:
    return PlainTextResponse("no need to read", status_code=413)


async def stream(request: Request) -> Response:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(6):
            await asyncio.sleep(request.path_params["pause"])
            yield b"piece "

    return StreamingResponse(slowly())


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    """A uvicorn with the protocol, and a deadline that never comes."""
    routes = [
        Route("/length", length, methods=["POST"]),
        Route("/early", early, methods=["POST"]),
        Route("/asked", asked),
        Route("/stream/{pause:float}", stream),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=routes), http=protocol.DeadlineProtocol, log_level="critical", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "REQUEST_DEADLINE", 600.0)
        thread.start()
        wait_for(lambda: server.started)
        yield server
        server.should_exit = True
        thread.join(timeout=60)


@pytest.fixture(scope="module")
def connect(server: uvicorn.Server) -> Connect:
    address = server.servers[0].sockets[0].getsockname()
    return lambda: socket.create_connection(address, timeout=60)


@pytest.fixture
def deadline_of(server: uvicorn.Server) -> DeadlineOf:
    """The deadline of what this connection has sent a part of, once the part is there."""

    def find(connection: socket.socket) -> asyncio.TimerHandle:
        def armed() -> list[asyncio.TimerHandle]:
            ours = connection.getsockname()
            return [
                each._deadline
                for each in list(server.server_state.connections)
                if isinstance(each, protocol.DeadlineProtocol)
                and each.transport.get_extra_info("peername") == ours
                and each._receiving()
                and each._deadline
            ]

        wait_for(armed)
        [deadline] = armed()
        return deadline

    return find


def let_come(server: uvicorn.Server, deadline: asyncio.TimerHandle) -> None:
    """As if its time were over."""

    def come() -> None:
        deadline._run()
        deadline.cancel()

    server.servers[0].get_loop().call_soon_threadsafe(come)


@pytest.fixture
def set_deadline(monkeypatch: pytest.MonkeyPatch) -> SetDeadline:
    """Sets the deadline of what begins from now on."""
    return lambda seconds: monkeypatch.setattr(protocol, "REQUEST_DEADLINE", seconds)


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the server hangs up; fails if nothing does for a minute."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_until(connection: socket.socket, ending: bytes) -> bytes:
    """What comes up to `ending`; fails if nothing comes for a minute."""
    received = b""
    while not received.endswith(ending):
        chunk = connection.recv(65536)
        assert chunk, f"the server hung up after {received!r}"
        received += chunk
    return received


def require_hung_up_on(connection: socket.socket) -> None:
    """Drips bytes until the server hangs up."""
    begin = time.monotonic()
    with pytest.raises(OSError, match="."):  # noqa: PT012 - the server hangs up at some byte
        while time.monotonic() - begin < 60:
            connection.sendall(b"a")
            time.sleep(SHORT / 8)


def test_an_idle_connection_is_closed_without_a_word(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    set_deadline(SHORT)
    with connect() as connection:
        assert read_to_end(connection) == b""


def test_a_half_body_is_answered_408_as_a_problem(
    server: uvicorn.Server, connect: Connect, deadline_of: DeadlineOf
) -> None:
    with connect() as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        let_come(server, deadline_of(connection))
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 408


def test_dripping_bytes_do_not_extend_the_deadline(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    set_deadline(SHORT)
    with connect() as connection:
        connection.sendall(b"GET /early HTTP/1.1\r\nHost: x\r\nX-Drip: ")
        require_hung_up_on(connection)


def test_a_body_dripped_after_an_early_answer_has_a_deadline_too(
    server: uvicorn.Server, connect: Connect, deadline_of: DeadlineOf
) -> None:
    with connect() as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
        read_until(connection, b"no need to read")
        let_come(server, deadline_of(connection))
        require_hung_up_on(connection)


def test_a_stream_may_take_longer_than_the_deadline(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    with connect() as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        read_until(connection, b"\r\n\r\n3")
        set_deadline(SHORT)
        connection.sendall(b"GET /stream/0.1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_to_end(connection).count(b"piece ") == 6


def test_a_kept_connection_gets_a_new_deadline_for_each_request(
    connect: Connect, deadline_of: DeadlineOf
) -> None:
    deadlines = []
    with connect() as connection:
        for _ in range(5):
            connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
            deadlines.append(deadline_of(connection))
            connection.sendall(b"a")
            assert deadline_of(connection) is deadlines[-1]
            connection.sendall(b"bc")
            read_until(connection, b"\r\n\r\n3")
            assert deadlines[-1].cancelled()
    assert len(set(map(id, deadlines))) == 5


def test_the_second_request_of_a_kept_connection_has_a_deadline(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    with connect() as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        read_until(connection, b"\r\n\r\n3")
        set_deadline(SHORT)
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


def answers_to(connect: Connect, set_deadline: SetDeadline, pipelined: bytes) -> bytes:
    """All that comes where this follows a stream under way, on the same connection."""
    with connect() as connection:
        connection.sendall(b"GET /stream/0.1 HTTP/1.1\r\nHost: x\r\n\r\n")
        first = connection.recv(65536)
        set_deadline(SHORT)
        connection.sendall(pipelined)
        return first + read_to_end(connection)


def test_a_request_pipelined_during_a_stream_is_answered_after_it(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    whole = b"POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    answers = answers_to(connect, set_deadline, whole)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"piece ") == 6
    assert answers.endswith(b"\r\n\r\n3")


def test_half_a_request_pipelined_during_a_stream_has_its_deadline_after_it(
    connect: Connect, set_deadline: SetDeadline
) -> None:
    answers = answers_to(connect, set_deadline, b"POST /length HTTP/1.1\r\nHo")
    assert answers.count(b"piece ") == 6
    assert b"HTTP/1.1 408 " in answers


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 something of TLS\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000,
    ],
    ids=["no host", "two hosts", "raw utf-8", "two lengths", "tls", "endless header"],
)
def test_what_is_not_http_is_answered_400_as_a_problem(connect: Connect, raw: bytes) -> None:
    with connect() as connection:
        connection.sendall(raw)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["title"] == "Malformed request"


async def asked(request: Request) -> Response:
    return JSONResponse({"host": request.headers.getlist("host"), "query": request.url.query})


def exchange(connect: Connect, raw: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of the one answer to these bytes."""
    with connect() as connection:
        connection.sendall(raw)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


REST = b" HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "target, host, query",
    [
        (b"http://here:8000/asked?a=b", "here:8000", "a=b"),
        (b"HTTPS://here/asked", "here", ""),
        (b"http://[::1]:80/asked?http://x/", "[::1]:80", "http://x/"),
        (b"/asked?http://x/", "other", "http://x/"),
    ],
)
def test_a_target_in_absolute_form_says_the_host(
    connect: Connect, target: bytes, host: str, query: str
) -> None:
    assert exchange(connect, b"GET " + target + REST) == (200, {"host": [host], "query": query})


@pytest.mark.parametrize(
    "target", [b"asked", b"http:///asked", b"http://me@here/asked", b"ftp://here/asked", b"*x"]
)
def test_a_target_of_no_form_is_answered_400(connect: Connect, target: bytes) -> None:
    status, problem = exchange(connect, b"GET " + target + REST)
    assert (status, problem["title"]) == (400, "Malformed request")


@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n" * 30_000])
def test_empty_lines_before_a_request_are_skipped(connect: Connect, empty: bytes) -> None:
    assert exchange(connect, empty + b"GET /asked" + REST)[0] == 200


def test_empty_lines_may_come_in_pieces_and_after_a_body(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab\r\n\r")
        read_until(connection, b"2")
        for part in (b"\n", b"\r", b"\n", b"GET /asked" + REST):
            connection.sendall(part)
            time.sleep(SHORT / 8)
        assert b"200 OK" in read_to_end(connection)


@pytest.mark.parametrize(
    "begin", [b"", b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"]
)
def test_empty_lines_alone_have_a_deadline(
    connect: Connect, set_deadline: SetDeadline, begin: bytes
) -> None:
    set_deadline(SHORT)
    with connect() as connection:
        connection.sendall(begin)
        if begin:
            read_until(connection, b"0")
        connection.sendall(b"\r\n")
        assert read_to_end(connection) == b""


@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_declined_without_noise(
    connect: Connect, offer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = b" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + offer
    with connect() as connection, caplog.at_level(logging.WARNING):
        connection.sendall(b"GET /asked" + upgrade + b"\r\n\r\nGET /asked" + REST)
        assert read_to_end(connection).count(b"HTTP/1.1 200 OK") == 2
    assert caplog.records == []


def test_a_body_in_very_many_chunks_is_refused(connect: Connect) -> None:
    """A hundred thousand chunks of one byte held the loop for more than a second."""
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1\r\na\r\n"
    with connect() as connection:
        for _ in range(2):  # each request counts its own
            connection.sendall(head + chunk * MOST_CHUNKS + b"0\r\n\r\n")
            assert b"200 OK" in _answer(connection)
        connection.sendall(head + chunk * (MOST_CHUNKS + 1))
        answer = _answer(connection)
    assert b"400 " in answer
    assert b"a body comes in at most 1024 chunks" in answer


def _answer(connection: socket.socket) -> bytes:
    """Head and body of one answer, which come one after the other."""
    found = connection.recv(65536)
    while b"\r\n\r\n" not in found or found.endswith(b"\r\n\r\n"):
        found += connection.recv(65536)
    return found


def test_garbage_after_an_early_answer_is_hung_up_on(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        read_until(connection, b"no need to read")
        connection.sendall(b"no chunk size\r\n")
        assert read_to_end(connection) == b""


def test_nothing_waits_for_an_acknowledgement_and_dead_peers_are_noticed() -> None:
    async def options() -> tuple[bool, int, int]:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(Starlette(), log_level="critical")
        config.load()
        state = uvicorn.server.ServerState()
        made: list[protocol.DeadlineProtocol] = []

        def make() -> protocol.DeadlineProtocol:
            made.append(protocol.DeadlineProtocol(config, state, {}))
            return made[-1]

        server = await loop.create_server(make, sock=listen(Settings(port=0)))
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while not made or made[0].transport is None:
            await asyncio.sleep(0)
        accepted = made[0].transport.get_extra_info("socket")
        at_once = bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        keep_alive = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        writer.close()
        server.close()
        await asyncio.sleep(0.01)
        return at_once, keep_alive, timeout

    assert asyncio.run(options()) == (True, 1, 30_000)
