"""A TCP proxy that cuts answers short, as bad networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Literal

_BLOCK = 256  # bytes forwarded at once: cuts fall where they are asked for, give or take as many
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close sends RST instead of FIN
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"DELETE ", b"OPTIONS ")


class CutProxy:
    """Forwards to `upstream_port`; the first `times` connections end after `after_bytes` of answer.

    `mode` is how: "fin" as if the answer were complete, "rst" as a broken connection. Connections
    that answer less are left alone and not counted. `cuts` says how many were cut so far.
    `path` limits it to requests whose first line contains it. `read`: what the reader sets once it
    has read something; nothing is cut before, since a cut takes away what was not read yet.

        with CutProxy(server.port, after_bytes=500, times=2, mode="rst") as proxy:
            get(f"http://127.0.0.1:{proxy.port}/generate?prompt=Hello")
    """

    def __init__(
        self,
        upstream_port: int,
        *,
        after_bytes: int = 0,
        times: int = 1,
        mode: Literal["fin", "rst"] = "rst",
        path: str = "",
        read: threading.Event | None = None,
    ) -> None:
        self.cuts = 0
        self._read = read
        self._upstream = ("127.0.0.1", upstream_port)
        self._after = after_bytes
        self._times = times
        self._mode = mode
        self._path = path.encode()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="cutproxy", daemon=True)

    def __enter__(self) -> CutProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hangs up on everybody."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        with self._lock:
            for connection in list(self._open):
                _hang_up(connection)

    def forward_to(self, upstream_port: int) -> None:
        """From the next connection on, somebody else answers."""
        self._upstream = ("127.0.0.1", upstream_port)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        requests = _Requests()
        up = threading.Thread(target=_forward, args=(client, server, requests), daemon=True)
        up.start()
        if self._answer(client, server, requests):
            _reset(client)
        else:
            _hang_up(client)
        _hang_up(server)
        up.join(5)
        with self._lock:
            self._open -= {client, server}
        for connection in (client, server):
            connection.close()

    def _answer(self, client: socket.socket, server: socket.socket, requests: _Requests) -> bool:
        """Forwards until either end hangs up or the cut; says whether to reset."""
        with contextlib.suppress(OSError):
            while block := server.recv(_BLOCK):
                client.sendall(block)
                requests.answered += len(block)
                if self._path in requests.line and requests.answered > self._after and self._cut():
                    return self._mode == "rst"
        return False

    def _cut(self) -> bool:
        if self._read is not None:
            self._read.wait(60)
        with self._lock:
            if self.cuts >= self._times:
                return False
            self.cuts += 1
            return True


class _Requests:
    """The first line of a connection's latest request, and how much it was answered."""

    line = b""
    answered = 0


def _forward(source: socket.socket, target: socket.socket, requests: _Requests) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            if block.startswith(_METHODS):  # else the rest of a body, which came by itself
                requests.line, requests.answered = block.split(b"\r\n", 1)[0], 0
            target.sendall(block)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """Makes the next close send RST; wakes whoever reads from it without sending FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RD)
