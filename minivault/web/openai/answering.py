"""The answers of the doors whose choices are told in parts: a stream, or one object."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from minivault.background import in_thread
from minivault.generations import Follower, batches
from minivault.web import sse
from minivault.web.connection import while_connected
from minivault.web.openai.ending import failure_of
from minivault.web.openai.telling import Told, ended_badly

NAMED = 20  # ignored fields that the header names; the answer names all
VERSION = "2020-10-01"  # of the interface, as OpenAI's servers name it


def stream(told: Told) -> Response:
    """Chunks as the texts are made."""
    response = sse.blocks(told.chunks(), told.followers, told.keep_alive)
    response.headers.update(headers_of(told.followers))
    return response


def headers_of(followers: Sequence[Follower]) -> dict[str, str]:
    """What a client can read without looking into the answer."""
    generations = [each.generation for each in followers]
    first = generations[0]
    seeds = [str(each.request.seed) for each in generations if each.request]
    headers = {
        "MiniVault-Id": first.id,
        "MiniVault-Seed": ", ".join(seeds),
        "MiniVault-Model": first.info.name,
        "openai-version": VERSION,
        "openai-processing-ms": str(int((time.monotonic() - first.times.asked) * 1000)),
    }
    if first.call and first.call.ignored:
        # A field's name may be anything; a header's value may not.
        names = [
            "".join(each if "!" <= each <= "~" else "?" for each in name) or "?"
            for name in first.call.ignored[:NAMED]
        ]
        headers["MiniVault-Ignored"] = ", ".join(names)
    return headers


class WholeAnswer(Response):
    """One object once all choices have ended."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._wait())
            # With probabilities it may have megabytes, and what takes it apart its milliseconds:
            # neither is for the loop.
            long = any(each.generation.text.logprobs for each in self._told.followers)
            long = long or any(self._told.answers)
            answer = await in_thread(self._answer) if long else self._answer()
            await answer(scope, receive, send)
        finally:
            for each in self._told.followers:
                each.close()

    async def _wait(self) -> None:
        """Until all have ended, or one of them badly: then the others are of no use."""
        async for _ in batches(self._told.followers):
            if ended_badly(self._told):
                return

    def _answer(self) -> Response:
        told = self._told
        headers = headers_of(told.followers)
        bad = ended_badly(told)
        if bad is None:
            return JSONResponse(told.whole(), headers=headers)
        event = bad.events[-1]
        failure = failure_of(event) or {}
        status, more = _failed(str(event.data.get("finish_reason")))
        return JSONResponse(failure | {"minivault": told.ours()}, status, headers | more)


def _failed(reason: str) -> tuple[int, dict[str, str]]:
    """The status of a text that did not come to its end, and whether to ask again."""
    if reason == "interrupted":
        return 503, {"Retry-After": "2"}
    return (400 if reason == "cancelled" else 500), {"x-should-retry": "false"}
