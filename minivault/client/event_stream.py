"""Server-Sent Events as a client reads them (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `id` is the last one the stream named, which is what a reader comes back with."""

    name: str
    id: str
    data: dict[str, Any]


class EventStream:
    """Takes bytes however they are cut, gives whole events; keeps `retry` in seconds.

    What a cut left of an event is dropped with this object: a reader begins each connection anew.
    """

    def __init__(self, last_id: str = "") -> None:
        self.retry: float | None = None
        self._id = last_id
        self._rest = b""
        self._fields: list[tuple[str, str]] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this chunk ends. Raises ValueError where one's data is no JSON object."""
        lines = (self._rest + chunk).split(b"\n")  # the server ends lines with LF alone
        self._rest = lines.pop()
        for line in lines:
            if line:
                name, _, value = line.decode().partition(":")
                self._fields.append((name, value.removeprefix(" ")))
            elif event := self._event():
                yield event

    def _event(self) -> Event | None:
        name, data = "message", []
        for field, value in self._fields:
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                self._id = value
            elif field == "retry" and value.isdigit():
                self.retry = int(value) / 1000
        self._fields = []
        if not data:
            return None
        content = json.loads("\n".join(data))
        if not isinstance(content, dict):
            raise ValueError("an event's data is no object")
        return Event(name, self._id, content)
