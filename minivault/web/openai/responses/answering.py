"""The answers of the door whose texts are told as responses: events, or one object."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from minivault.generations import Follower, Generation
from minivault.web import sse
from minivault.web.connection import while_connected
from minivault.web.openai.answering import headers_of
from minivault.web.openai.parts import answer_of
from minivault.web.openai.responses.telling import (
    BEFORE,
    STEP,
    Events,
    status_of,
    whole_response,
)


async def stream(follower: Follower, heard: int | None = None) -> Response:
    """The events behind those of piece number `heard`; None for all."""
    answer = await answer_of(follower.generation)
    after = -1
    if heard is not None:
        after = STEP * (heard + 1) - 1 if answer else BEFORE - 1 + heard
    return streamed(Events(follower, after, answer), follower)


def streamed(events: Events, follower: Follower) -> Response:
    response = sse.blocks(events.blocks(), [follower], events.keep_alive)
    response.headers.update(headers_of([follower]))
    return response


async def told(generation: Generation) -> Response:
    return JSONResponse(await whole_response(generation))


class WholeResponse(Response):
    """The response, once it has ended."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation = self._follower.generation
        try:
            await while_connected(receive, over(self._follower))
            status, headers = 200, headers_of([self._follower])
            if status_of(generation) == "failed":
                status, headers = 500, headers | {"x-should-retry": "false"}
            answer = JSONResponse(await whole_response(generation), status, headers)
            await answer(scope, receive, send)
        finally:
            self._follower.close()


async def over(follower: Follower) -> None:
    async for _ in follower.batches():
        pass
