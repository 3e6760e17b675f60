"""Many readers of event streams in one process of their own. `python -m minivault.bench.clients`.

They read sockets and the clock, nothing else: what a client does takes time from the server where
both share the cores. All parsing waits until the last stream has ended.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from minivault.bench.figures import Wave, figures
from minivault.bench.workload import Workload

_PIECE = b'data: {"text"'
_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


class Refused(Exception):
    """The server answered something else than a whole event stream."""


class Reader(asyncio.Protocol):
    """Sends one request and keeps whatever comes, with the moment at which it came."""

    def __init__(self, request: bytes) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.chunks.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def arrivals(self, begin: float) -> tuple[float, ...]:
        """Seconds from `begin` to every piece; pieces that came together have one moment."""
        return tuple(
            moment - begin for moment, data in self.chunks for _ in range(data.count(_PIECE))
        )

    def tokens(self) -> int:
        """How many tokens the last event tells of. Raises Refused if there is none."""
        found = _TOKENS.search(self._answer())
        if not found:
            raise Refused(self._answer()[:300].decode("utf-8", "replace"))
        return int(found[1])

    def text(self) -> str:
        """All pieces together."""
        lines = self._answer().split(b"\n")
        pieces = (json.loads(line[6:])["text"] for line in lines if line.startswith(_PIECE))
        return "".join(pieces)

    def _answer(self) -> bytes:
        return b"".join(data for _, data in self.chunks)


async def run_wave(host: str, port: int, requests: list[bytes]) -> Wave:
    """All requests at once, each on a connection of its own, until the last has ended."""
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    connections = [
        loop.create_connection(partial(Reader, request), host, port) for request in requests
    ]
    readers = [reader for _, reader in await asyncio.gather(*connections)]
    await asyncio.gather(*(reader.ended for reader in readers))
    tokens = sum(reader.tokens() for reader in readers)
    seconds = max(reader.chunks[-1][0] for reader in readers) - begin
    arrivals = tuple(reader.arrivals(begin) for reader in readers)
    return Wave(arrivals, tokens, seconds, tuple(reader.text() for reader in readers))


async def run_apart(host: str, port: int, requests: list[bytes], rounds: int) -> Wave:
    """A client for each request, which sends it again as soon as it is answered; all as one wave.

    No client waits for another, as they do at the end of a wave: where two servers share the
    requests, that would be waiting for the slower one, again and again.
    """

    async def client(request: bytes) -> list[Wave]:
        return [await run_wave(host, port, [request]) for _ in range(rounds)]

    begin = time.perf_counter()
    answered = [wave for own in await asyncio.gather(*map(client, requests)) for wave in own]
    return Wave(
        arrivals=tuple(each for wave in answered for each in wave.arrivals),
        tokens=sum(wave.tokens for wave in answered),
        seconds=time.perf_counter() - begin,
        texts=tuple(text for wave in answered for text in wave.texts),
    )


async def measure(
    port: int, prompt: str, at_once: list[int], workload: Workload, apart: bool = False
) -> None:
    """Prints one JSON object for each number of requests at once."""
    for count in at_once:
        requests = [http_request(workload.body(prompt, seed)) for seed in range(count)]
        await run_wave("127.0.0.1", port, requests)
        if apart:
            waves = [await run_apart("127.0.0.1", port, requests, workload.rounds)]
        else:
            waves = [await run_wave("127.0.0.1", port, requests) for _ in range(workload.rounds)]
        print(json.dumps(asdict(figures(waves)) | {"at_once": count}), flush=True)


def http_request(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def main(order: dict[str, Any]) -> None:
    workload = Workload(**order.pop("workload"))
    asyncio.run(measure(workload=workload, **order))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
