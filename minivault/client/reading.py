"""What a stream has told so far and what to ask for next, without sockets and without a clock."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from minivault.client.event_stream import EventStream
from minivault.errors import (
    FieldError,
    Gone,
    Incomplete,
    InvalidRequest,
    MiniVaultError,
    Unavailable,
    Unreachable,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds
AWAY = {502, 504}  # what a proxy says while the server behind it starts again


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a record stands in the log, and the SHA-256 of its line."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None


class Reading:
    """One generation from its request to its last event, over as many connections as that takes.

    A driver sends `ask()`, feeds what comes, calls `cut` when a connection ends, and waits for as
    long as that says, until it is `over`. `patience` is for how many seconds together it waits
    without a word from the server.
    """

    def __init__(self, request: dict[str, Any], patience: float) -> None:
        # With a key of its own a request that is sent twice is started once.
        self._request = {"key": secrets.token_urlsafe(18), **request}
        self._patience, self._waited, self._pause = patience, 0.0, FIRST_PAUSE
        self._stream = EventStream()
        self._last_id = ""
        self.met = False  # a server has answered
        self.over = False
        self.text = ""
        self.start: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.logprobs: list[dict[str, Any]] = []

    def ask(self) -> Ask:
        """What to send for the rest of it."""
        self._stream = EventStream(self._last_id)
        headers = {"Accept": "text/event-stream"}
        if not self.start:
            return Ask("POST", f"/generate?{self._key}", headers, self._request)
        headers["Last-Event-ID"] = self._last_id
        return Ask("GET", self.address, headers)

    @property
    def address(self) -> str:
        """Of the generation, once it has begun."""
        return f"/generate/{self.start['id']}?{self._key}"

    @property
    def _key(self) -> str:
        """Where a proxy before several servers sees it, and so finds the one that has the text."""
        return urlencode({"key": self._request["key"]})

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The pieces of text in what came. Raises Gone, or Incomplete where the server failed."""
        for event in self._stream.feed(chunk):
            self.met, self._waited, self._pause = True, 0.0, FIRST_PAUSE
            self._last_id = event.id
            data = event.data
            if event.name == "message":
                self.text += data["text"]
                self.logprobs += data.get("logprobs", [])
                yield data["text"]
            elif event.name == "start":
                self.start = data
            elif event.name == "gone":
                self.over = True
                raise Gone("this text is not kept any more and cannot be made again", self.text)
            elif event.name in ("done", "stopped", "failed") and not data.get("resumable"):
                self.over, self.end = True, data
                if event.name == "failed":
                    raise Incomplete(data["error"]["message"], self.text)

    def refused(self, status: int, content: bytes, retry_after: str = "") -> float:
        """Seconds to wait before asking again; raises what the server said if that cannot help."""
        self.met = True
        if status in AWAY:
            return self.cut(f"status {status}")
        error = error_of(status, content, retry_after)
        if not isinstance(error, Unavailable):
            raise error
        return self._wait(float(error.retry_after), error)

    def cut(self, why: str) -> float:
        """Seconds to wait before coming back after a connection that ended early."""
        pause = max(self._pause, self._stream.retry or 0)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return self._wait(pause, Unreachable(f"the server went away ({why})", self.text))

    def _wait(self, seconds: float, error: MiniVaultError) -> float:
        self._waited += seconds
        if self._waited > self._patience:
            self.over = True
            raise error
        return seconds


def error_of(status: int, content: bytes, retry_after: str = "") -> MiniVaultError:
    """The error of the tree that the server answered with (application/problem+json)."""
    try:
        problem = json.loads(content)
        title, detail = problem.get("title"), str(problem["detail"])
        fields = [FieldError(**each) for each in problem.get("errors") or ()]
    except (ValueError, TypeError, KeyError, AttributeError):
        title, fields = None, []
        detail = f"status {status}, and no word of MiniVault: is the address right?"
    kind = next((each for each in _kinds(MiniVaultError) if each.title == title), MiniVaultError)
    if issubclass(kind, InvalidRequest):
        invalid = kind.__new__(kind)  # made of what was told, whatever the server makes it of
        InvalidRequest.__init__(invalid, fields)
        return invalid
    if issubclass(kind, Unavailable) or status == 503:
        unavailable = kind if issubclass(kind, Unavailable) else Unavailable
        return unavailable(detail, retry_after=int(retry_after) if retry_after.isdigit() else 2)
    error = kind(detail) if kind.__init__ is MiniVaultError.__init__ else MiniVaultError(detail)
    error.status = status
    return error


def _kinds(kind: type[MiniVaultError]) -> Iterator[type[MiniVaultError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)
