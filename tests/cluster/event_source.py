"""An EventSource as the WHATWG text has it, on a raw socket: any status but 200 ends it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from tests.event_stream import EventStreamParser, Received
from tests.faults.crowd import request

ENDS = ("done", "failed", "gone")


@dataclass
class EventSource:
    """Reads one text to its end; knows how often it was cut, and for how long it heard nothing.

    `drop_at`: the client's own connection breaks after so many pieces, once.
    """

    port: int
    query: dict[str, Any]
    drop_at: int = 0
    retry: float = 0.5
    last: str = ""
    text: str = ""
    end: str = ""
    next: int = 1
    connections: int = 0
    gaps: list[float] = field(default_factory=list)
    heard: float = 0.0

    async def read(self, seconds: float = 300) -> EventSource:
        async with asyncio.timeout(seconds):
            while not self.end:
                self.connections += 1
                with contextlib.suppress(OSError, EOFError):
                    await self._read_once()
                if not self.end:
                    await asyncio.sleep(self.retry)
        return self

    @property
    def id(self) -> str:
        return self.last.partition(".")[0]

    async def _read_once(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request(last=self.last, **self.query))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            if status != 200:
                self.end = f"status {status}"
                return
            parser = EventStreamParser()
            while not self.end:
                size = int((await reader.readline()).strip() or b"0", 16)
                chunk = await reader.readexactly(size + 2)
                if not size:
                    return
                for event in parser.feed(chunk[:-2]):
                    self._take(event)
                if parser.retry is not None:
                    self.retry = parser.retry / 1000
                if self.drop_at and self.next > self.drop_at:
                    self.drop_at = 0
                    return
        finally:
            writer.close()

    def _take(self, event: Received) -> None:
        now = time.monotonic()
        self.last = event.id or self.last
        if event.name == "message":
            assert event.number == self.next, "a piece is lost or doubled"
            self.next += 1
            self.text += event.json["text"]
            if self.heard:
                self.gaps.append(now - self.heard)
            self.heard = now
        elif event.name in ENDS or (event.name == "stopped" and not event.json.get("resumable")):
            self.end = event.json.get("finish_reason", event.name)


async def read_all(sources: list[EventSource], seconds: float = 300) -> None:
    await asyncio.gather(*(each.read(seconds) for each in sources))


async def until(condition: Any, seconds: float = 120) -> None:
    """Returns when it holds; what others do goes on meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
