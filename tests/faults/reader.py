"""Node's EventSource as a client: what it saw, once it has closed or its time is up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.tools import tool

SCRIPT = Path(__file__).with_name("event_source.mjs")


@dataclass(frozen=True)
class Seen:
    """What an EventSource made of it; `state` 2 is CLOSED."""

    text: str
    ids: list[str]
    opens: int
    errors: int
    end: str | None
    data: dict[str, Any] | None
    state: int

    @property
    def numbers(self) -> list[int]:
        return [int(id.rpartition(".")[2]) for id in self.ids]

    @property
    def is_seamless(self) -> bool:
        """No piece lost, none doubled."""
        return self.numbers == list(range(1, len(self.ids) + 1))


class EventSource:
    """A reader in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def seen(self) -> Seen:
        output, errors = self.process.communicate(timeout=240)
        assert output, errors
        return Seen(**json.loads(output))


@contextmanager
def event_source(
    port: int, *, seconds: float = 180, naive: bool = False, **query: Any
) -> Iterator[EventSource]:
    """Opens `/generate` with this query."""
    url = f"http://127.0.0.1:{port}/generate?{urlencode(query)}"
    options = ["--no-warnings", "--experimental-eventsource"]
    command = [tool("node"), *options, str(SCRIPT), url, str(seconds)]
    process = subprocess.Popen(
        command + ["naive"] * naive, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield EventSource(process)
    finally:
        process.kill()
        process.communicate()
