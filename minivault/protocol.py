"""HTTP/1.1 as uvicorn speaks it, with a deadline for every request and no dead sockets.

Refusals at this level have the same shape as all others: application/problem+json (RFC 9457).
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from minivault.http1 import MOST_CHUNKS, Connection
from minivault.web.crowded import crowded

#: Seconds from a request's first byte, or from the connection's begin, to its last byte.
REQUEST_DEADLINE = 10.0

#: Bytes that a request's line and headers may have.
LARGEST_HEAD = 65536

#: Milliseconds after which the kernel gives up on a peer that acknowledges nothing (RFC 5482).
_UNACKNOWLEDGED = 30_000


class DeadlineProtocol(H11Protocol):
    """One absolute timer covers headers and body, so that dripping bytes does not extend it.

    It is off while a request is being answered: streams may take as long as they want. Between two
    requests of one connection uvicorn's keep-alive timer counts.
    """

    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # uvicorn itself would answer 503 to whoever comes while many do nothing but being there.
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        self._quiet_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.conn = Connection(self.config.h11_max_incomplete_event_size or LARGEST_HEAD)
        super().connection_made(transport)
        connection: socket.socket = transport.get_extra_info("socket")
        # Otherwise a small write waits until the one before it is acknowledged, which a peer puts
        # off by 40 ms. asyncio sees to it only for sockets that were made with IPPROTO_TCP.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A laptop that fell asleep sends no FIN; without this its socket would stay open for hours.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        self._arm()
        if self._most_connections and len(self.connections) > self._most_connections:
            self._make_room(self._most_connections)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered here."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self, most: int) -> None:
        """Hangs up on the one that has been idle for longest; if none is, this one comes again."""
        open_ones = [each for each in self.connections if isinstance(each, DeadlineProtocol)]
        open_ones = [each for each in open_ones if not each.transport.is_closing()]
        if len(open_ones) <= most:
            return  # others are on their way out
        idle = [each for each in open_ones if each.is_idle and each is not self]
        if idle:
            min(idle, key=lambda each: each._quiet_since).transport.abort()
        else:
            self.app = crowded

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._arm()  # also for empty lines, which uvicorn takes for a request that begins
        else:
            self._watch()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()  # begins to read a pipelined request, if there is one
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        detail = "this is not HTTP/1.1 as RFC 9112 has it"
        if isinstance(self.conn, Connection) and self.conn.chunks > MOST_CHUNKS:
            detail = f"a body comes in at most {MOST_CHUNKS} chunks, or with Content-Length"
        self._refuse(400, "Malformed request", detail)

    def _unsupported_upgrade_warning(self) -> None:
        """An offer of h2c or WebSocket is declined by not taking it; nobody needs to be told."""

    def _watch(self) -> None:
        if self._receiving():
            self._arm()
        else:
            self._disarm()

    def _receiving(self) -> bool:
        """Whether a request has begun to arrive and is not complete."""
        if self.conn.their_state is h11.IDLE:
            return bool(self.conn.trailing_data[0])
        return self.conn.their_state is h11.SEND_BODY

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_DEADLINE, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._receiving():
            self._refuse(408, "Request too slow", f"not here after {REQUEST_DEADLINE:g} seconds")
        else:
            # No byte came: a browser's spare connection. It would take a 408 for an answer.
            self.transport.close()

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answers in the application's place, unless it has begun to answer, and hangs up."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
            body = json.dumps(problem).encode()
            headers = [
                ("content-type", "application/problem+json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            response = h11.Response(status_code=status, headers=headers, reason=title)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
