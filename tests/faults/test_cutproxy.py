"""The cutting proxy itself: what it cuts, and what it leaves alone."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.cutproxy import CutProxy

BODY = b"x" * 20_000


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def fetch(port: int, path: str = "/") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_cuts_as_often_as_it_is_told_and_then_lets_through(upstream: int) -> None:
    with CutProxy(upstream, after_bytes=500, times=2, mode="fin") as proxy:
        for _ in range(2):
            with pytest.raises(http.client.IncompleteRead) as cut:
                fetch(proxy.port)
            assert 0 < len(cut.value.partial) < 1000
        assert fetch(proxy.port) == BODY
        assert proxy.cuts == 2


def test_a_reset_is_seen_as_one(upstream: int) -> None:
    with CutProxy(upstream, after_bytes=500, mode="rst") as proxy:
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            fetch(proxy.port)
        assert fetch(proxy.port) == BODY


def test_only_the_named_path_is_cut(upstream: int) -> None:
    with CutProxy(upstream, after_bytes=500, path="/generate") as proxy:
        assert fetch(proxy.port, "/health") == BODY
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            fetch(proxy.port, "/generate?prompt=x")
