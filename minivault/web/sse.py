"""Server-Sent Events (WHATWG HTML, 9.2): the only module that knows sse-starlette."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from minivault.generations import Event, Follower

PING_SECONDS = 15
RETRY_MS = 1000
_PART = 256  # events that are encoded in one step of the loop
SEND_TIMEOUT = 30.0  # seconds for which a reader may take nothing
_RETRY = b"retry: %d\n\n" % RETRY_MS

# The registry ends the streams at shutdown, each with its last event.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]


def encode(generation: str, n: int, event: Event) -> bytes:
    """One event as bytes. Its data is one line of ASCII, so nothing in it can break the frame."""
    lines = []
    if event.name == "gone":
        lines.append(f"id: {generation}.gone")
    elif event.numbered:
        lines.append(f"id: {generation}.{n}")
    if event.name:
        lines.append(f"event: {event.name}")
    if event.name is None and len(event.data) == 1:
        # As json.dumps would, some twenty times as fast: that one makes an encoder a call.
        data = f'{{"text":{encode_basestring_ascii(event.data["text"])}}}'
    else:
        data = json.dumps(event.data, separators=(",", ":"))
    lines.append(f"data: {data}\n\n")
    return "\n".join(lines).encode("ascii")


def stream(follower: Follower) -> Response:
    """Follows a generation as an event stream; closes the follower, whatever happens."""
    return _EventStream(_chunks(follower), follower)


def blocks(
    content: AsyncIterator[bytes], followers: Sequence[Follower], keep_alive: Callable[[], bytes]
) -> EventSourceResponse:
    """Blocks that are written already, and what keeps the connection alive between them.

    Closes the followers, whatever happens.
    """
    return _EventStream(content, *followers, keep_alive=keep_alive)


def once(generation: str, event: Event) -> Response:
    """An event stream of one event."""
    return _EventStream(_all([_RETRY + encode(generation, 0, event)]))


def come_again() -> Response:
    """An empty event stream: EventSource reconnects; any other status would end it for ever."""
    return _EventStream(_all([_RETRY]))


def headers_only() -> Response:
    """The answer to HEAD."""
    return Response(media_type="text/event-stream", headers={"Cache-Control": "no-store"})


class _EventStream(EventSourceResponse):
    """An event stream that never leaves its follower behind, not even if it is never entered.

    One timer looks after all of its sends: the library's own scope for each costs a sixth of the
    time that a piece takes (python -m benchmarks.overhead).
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *followers: Follower,
        keep_alive: Callable[[], Any] | None = None,
    ) -> None:
        """`keep_alive`: the bytes that are sent in silence; a comment where it is None."""
        super().__init__(
            content,
            ping=PING_SECONDS,
            ping_message_factory=keep_alive,
            sep="\n",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"},
        )
        self._followers = followers
        self._sending_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(None) as deadline:
                self._look_after(deadline)
                await super().__call__(scope, receive, send)
        except TimeoutError as error:
            raise SendTimeoutError from error
        finally:
            self._timer.cancel()
            for each in self._followers:
                each.close()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        self._sending_since = time.monotonic()
        await send(message)
        self._sending_since = None

    def _look_after(self, deadline: asyncio.Timeout) -> None:
        """Ends the stream if a send has waited for too long, else looks again later."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SEND_TIMEOUT / 3, self._look_after, deadline)
        if self._sending_since and time.monotonic() - self._sending_since > SEND_TIMEOUT:
            deadline.reschedule(loop.time())


async def _chunks(follower: Follower) -> AsyncIterator[bytes]:
    """All that is there goes in one chunk: a replay event by event would block the loop.

    So would very much at once: between large parts the others get their turn.
    """
    id = follower.generation.id
    yield _RETRY
    async for batch in follower.batches():
        parts = []
        for begin in range(0, len(batch), _PART):
            part = batch[begin : begin + _PART]
            parts.append(b"".join(encode(id, n, event) for n, event in part))
            if begin + _PART < len(batch):
                await asyncio.sleep(0)
        yield b"".join(parts)


async def _all(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
