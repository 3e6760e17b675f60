"""The two plain forms of an answer: the text as it is made, and one JSON object at the end."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from minivault.background import in_thread
from minivault.generations import Follower
from minivault.schemas import FinishReason
from minivault.web.connection import while_connected

_STATUS = {FinishReason.ERROR: 500, FinishReason.INTERRUPTED: 503}
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


class TextStream(Response):
    """The text, piece by piece; a failed or interrupted one ends without the closing chunk."""

    media_type = "text/plain"

    def __init__(self, follower: Follower) -> None:
        super().__init__(headers=_HEADERS | _names(follower))
        del self.headers["content-length"]
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send_all(send))
        finally:
            self._follower.close()

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for batch in self._follower.batches():
            text = "".join(event.text for _, event in batch)
            if text:
                body = text.encode("utf-8")
                await send({"type": "http.response.body", "body": body, "more_body": True})
        if self._follower.generation.finish_reason not in _STATUS:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class JsonAnswer(Response):
    """One object once the generation has ended."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._wait())
            # With probabilities it may have megabytes, which are not written in the loop.
            long = bool(self._follower.generation.text.logprobs)
            answer = await in_thread(self._answer) if long else self._answer()
            await answer(scope, receive, send)
        finally:
            self._follower.close()

    async def _wait(self) -> None:
        async for _ in self._follower.batches():
            pass

    def _answer(self) -> Response:
        generation = self._follower.generation
        assert generation.finish_reason is not None
        status = _STATUS.get(generation.finish_reason, 200)
        headers = _HEADERS | _names(self._follower)
        if status == 503:
            headers["Retry-After"] = "2"
        return JSONResponse(answer_data(self._follower), status, headers)


def answer_data(follower: Follower) -> dict[str, Any]:
    """The JSON answer of an ended generation."""
    generation = follower.generation
    assert generation.request is not None
    end = generation.events[-1].data
    answer = {
        "id": generation.id,
        "model": generation.events[0].data["model"],
        "text": generation.text.said,
        "finish_reason": generation.finish_reason,
        "usage": end.get("usage"),
        "timings": end.get("timings"),
        "seed": generation.request.seed,
        "params": generation.request.params.model_dump(mode="json"),
        "receipt": end.get("receipt"),
    }
    if generation.text.logprobs:
        answer["logprobs"] = generation.text.logprobs
    if "error" in end:
        answer["error"] = end["error"]
    return answer


def _names(follower: Follower) -> dict[str, str]:
    start = follower.generation.events[0].data
    return {
        "MiniVault-Id": start["id"],
        "MiniVault-Seed": str(start["seed"]),
        "MiniVault-Model": start["model"],
    }
