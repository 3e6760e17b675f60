"""More connections than there can be files: who is idle makes room, a returning reader gets in."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.event_stream import parse, text_of
from tests.faults.crowd import Answer, read_answer, request
from tests.live import wait_for
from tests.processes import Served, read_to_end, read_until, serving

pytestmark = pytest.mark.slow

FILES = 256
CONNECTIONS = FILES - 64  # what the server keeps for its log, its model and the like
KEY = "one-for-all"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, "--backend", "tests.echoes:Halting", files=FILES) as served:
        yield served


def asked(server: Served, raw: bytes) -> Answer:
    with server.connect() as connection:
        connection.sendall(raw)
        return read_answer(read_to_end(connection))


def health(server: Served) -> tuple[int, str]:
    answer = asked(server, request("/health", accept="*/*"))
    return answer.status, json.loads(answer.body).get("detail", "")


def test_idle_connections_keep_nobody_out(server: Served) -> None:
    with server.connect() as reader:
        reader.sendall(request(prompt="a b c", max_tokens=30))
        seen = read_until(reader, b"data: {")
    last = parse(seen.partition(b"\r\n\r\n")[2])[0].id
    with contextlib.ExitStack() as stack:
        for _ in range(FILES + CONNECTIONS):
            stack.enter_context(server.connect())
        (server.folder / "go").touch()
        answer = asked(server, request(prompt="a b c", max_tokens=30, last=last))
        assert answer.status == 200
        assert answer.events[-1].name == "done"
        assert text_of(answer.events) == server.records()[-1]["response"]
        assert health(server) == (200, "")
    [warning] = server.complaints
    assert "connections fit" in warning


def test_where_every_connection_is_in_use_nobody_is_told_that_it_is_ready(server: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            busy: socket.socket = stack.enter_context(server.connect())
            busy.sendall(request(prompt="a b c", max_tokens=30, key=KEY))
            read_until(busy, b"event: start")
        status, detail = health(server)
        assert status == 503
        assert "connections" in detail
        refused = asked(server, request(prompt="x"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        back = asked(server, request(prompt="x", last=f"{'A' * 64}.1"))
        assert (back.status, back.events) == (200, [])
        assert back.headers["content-type"].startswith("text/event-stream")
    wait_for(lambda: health(server)[0] == 200)
    [warning] = server.complaints
    assert "connections fit" in warning
