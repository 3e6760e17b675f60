"""An event-stream parser after the standard (WHATWG HTML, 9.2.6), apart from the product's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """One event as a browser would dispatch it."""

    name: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def number(self) -> int:
        return int(self.id.rpartition(".")[2])


class EventStreamParser:
    """Takes bytes however they are cut, gives events; `retry` and `comments` on the side."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._buffer = b""
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Received]:
        self._buffer += chunk
        while (end := self._line_end()) is not None:
            line, self._buffer = self._buffer[: end[0]], self._buffer[end[1] :]
            yield from self._line(line.decode("utf-8", "replace"))

    def _line_end(self) -> tuple[int, int] | None:
        for index, byte in enumerate(self._buffer):
            if byte == 0x0A:
                return index, index + 1
            if byte == 0x0D:
                if index + 1 == len(self._buffer):
                    return None  # perhaps the first half of CR LF
                return index, index + (2 if self._buffer[index + 1] == 0x0A else 1)
        return None

    def _line(self, line: str) -> Iterator[Received]:
        if not line:
            yield from self._dispatch()
            return
        if line.startswith(":"):
            self.comments.append(line[1:])
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> Iterator[Received]:
        self.last_event_id = self._id
        if self._data:
            yield Received(self._name or "message", "\n".join(self._data), self.last_event_id)
        self._name, self._data = "", []


def parse(content: bytes | Iterable[bytes]) -> list[Received]:
    """All events of a whole stream."""
    parser = EventStreamParser()
    chunks = [content] if isinstance(content, bytes) else content
    return [event for chunk in chunks for event in parser.feed(chunk)]


def text_of(events: Iterable[Received]) -> str:
    """The text that the default events carry."""
    return "".join(event.json["text"] for event in events if event.name == "message")
