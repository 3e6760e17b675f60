"""Clients on raw sockets, hundreds at once, that can vanish at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.event_stream import Received, parse

SSE = "text/event-stream"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close sends RST instead of FIN


@dataclass(frozen=True)
class Answer:
    """What came until the client or the server hung up; `whole` if the body has its end."""

    status: int  # 0: not even a head came
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def events(self) -> list[Received]:
        return parse(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    target: str = "/generate",
    *,
    method: str = "GET",
    accept: str = SSE,
    last: str = "",
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    **query: Any,
) -> bytes:
    """The bytes of a request; `last` is the Last-Event-ID."""
    content = json.dumps(body).encode() if body is not None else b""
    lines = [
        f"{method} {target}{'?' + urlencode(query) if query else ''} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Accept: {accept}",
        "Connection: close",
        f"Content-Length: {len(content)}",
        *([f"Last-Event-ID: {last}"] if last else []),
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def talk(
    port: int,
    asked: bytes,
    *,
    vanish: Callable[[bytes], bool] = lambda received: False,
    reset: bool = False,
    seconds: float = 120,
) -> Answer:
    """Sends a request and reads the answer, up to its end or to where `vanish` says so.

    Fails with TimeoutError if that takes longer than `seconds`.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        received = b""
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(asked)
                await writer.drain()
                while not vanish(received) and (block := await reader.read(65536)):
                    received += block
        finally:
            await _hang_up(writer, reset)
    return read_answer(received)


async def _hang_up(writer: asyncio.StreamWriter, reset: bool) -> None:
    with contextlib.suppress(OSError):  # it may be closed by now
        if reset:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.close()
        await writer.wait_closed()


def read_answer(received: bytes) -> Answer:
    """One answer out of its bytes (RFC 9112)."""
    head, separator, rest = received.partition(b"\r\n\r\n")
    if not separator:
        return Answer(0, {}, b"", False)
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if headers.get("transfer-encoding") == "chunked":
        body, whole = _dechunked(rest)
    else:
        length = int(headers.get("content-length", len(rest)))
        body, whole = rest[:length], len(rest) >= length
    return Answer(int(first.split()[1]), headers, body, whole)


def _dechunked(raw: bytes) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:end], 16)
        if size == 0:
            return b"".join(parts), True
        parts.append(raw[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(parts), False
