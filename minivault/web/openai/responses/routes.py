"""The routes of /v1/responses."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minivault.backends import optional
from minivault.background import in_thread, start_task
from minivault.errors import FieldError, InvalidRequest, NotFound
from minivault.generations import Follower, Generation, Nothing, Resumed
from minivault.generations.prompt import plain
from minivault.schemas import Client
from minivault.text_request import Turn
from minivault.web.carried import caller_of, service_of
from minivault.web.openai import bodies
from minivault.web.openai.asked import Choice, check_model
from minivault.web.openai.following import ID, NOT_HERE, as_it_is, last_of, of_door, visitor_of
from minivault.web.openai.parts import answer_of, message_of
from minivault.web.openai.responses.answering import WholeResponse, over, stream, streamed, told
from minivault.web.openai.responses.reading import (
    DOOR,
    ResponseFields,
    call_of,
    read_response,
    request_of,
)
from minivault.web.openai.responses.telling import (
    BEFORE,
    STEP,
    Events,
)
from minivault.web.openai.starting import start_one
from minivault.web.openai.tokens import TOKENS
from minivault.web.operations import JSON, STREAM, Operation, Parameter

PREFIX = "resp_"


async def create(request: Request) -> Response:
    """POST /v1/responses: a stream, the whole response, or at once one that goes on by itself."""
    service = service_of(request)
    info = service.info
    fields, ignored = await in_thread(read_response, await request.body())
    check_model(fields.model, info, service.settings.model_alias)
    before = await _before(request, fields.previous_response_id)
    asked = request_of(fields, before, info, request.headers.get("idempotency-key"))
    choice = Choice(asked, call_of(fields, ignored))
    if last := last_of(request):
        follower = await _come_back(request, last.generation, last.n or 0, choice)
        return await stream(follower, last.n or 0)
    client = Client.SSE if fields.stream else Client.JSON
    follower = await start_one(request, choice, client, lives_on=fields.background)
    if fields.background:
        _keep(follower.generation)
    if fields.stream:
        return await stream(follower)
    if fields.background:
        follower.close()
        return await told(follower.generation)
    return WholeResponse(follower)


async def show(request: Request) -> Response:
    """GET /v1/responses/{id}: as it is now, or its events from behind `starting_after`.

    One that was cut off by the end of a server goes on.
    """
    id = _id(request)
    if request.query_params.get("stream", "false").lower() != "true":
        follower = await _now(request, id)
        follower.close()
        return await told(follower.generation)
    given = request.query_params.get("starting_after", "-1")
    if not (given == "-1" or (given.isascii() and given.isdigit() and len(given) < 10)):
        raise InvalidRequest([FieldError("starting_after", "must be a sequence number")])
    after = int(given)
    known = service_of(request).registry.find(id)
    recalled = None if known else await _recalled(request, id)
    found = known or recalled
    answer = await answer_of(found) if found else None
    heard = after // STEP - 1 if answer else after - BEFORE + 1
    # Whoever has heard all of the text still lacks how it ended.
    most = known.last - 1 if known and known.ended else heard
    follower = await _come_back(request, id, max(-1, min(heard, most)), recalled=recalled)
    if follower.generation is not found:  # made again
        answer = await answer_of(follower.generation)
    return streamed(Events(follower, after, answer), follower)


async def cancel(request: Request) -> Response:
    """POST /v1/responses/{id}/cancel."""
    id = _id(request)
    known = service_of(request).registry.find(id)
    if known is None or known.ended:
        follower = await _now(request, id)
        follower.close()
        return await told(follower.generation)
    return await told(await service_of(request).generations.stop(id, caller_of(request)))


async def delete(request: Request) -> Response:
    """DELETE /v1/responses/{id}: what is recorded stays recorded, and whoever asks is told so."""
    raise InvalidRequest(
        [
            FieldError(
                "response_id",
                "is a line of the log, which is kept: minivault logs redact removes its text, and "
                "leaves proof that it did",
            )
        ]
    )


async def input_tokens(request: Request) -> Response:
    """POST /v1/responses/input_tokens: how many tokens the prompt would have."""
    service = service_of(request)
    backend = service.registry.open_backend()
    fields, _ = await in_thread(read_response, await request.body())
    before = await _before(request, fields.previous_response_id)
    asked = request_of(fields, before, service.info, None)
    turns = asked.conversation

    def counted() -> int | None:
        prompt = optional.render(backend, turns, asked.told) or plain(turns)
        return optional.tokenize(backend, prompt)[1]

    count = await TOKENS.run(counted)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": count})


async def _recalled(request: Request, id: str) -> Generation | None:
    """A recorded response, where it matters whether it is taken apart; see `Events`."""
    service = service_of(request)
    if service.info.reader is None:
        return None
    follower = await service.generations.recall(id, visitor_of(request, Client.JSON))
    if follower is None:
        return None
    follower.close()
    return follower.generation


def _keep(generation: Generation) -> None:
    """Listens to the end, so that it goes on whoever leaves."""
    start_task(generation.over())


async def _before(request: Request, id: str | None) -> list[Turn]:
    """The conversation up to a response, and that. Its instructions do not carry over."""
    if id is None:
        return []
    try:
        follower = await as_it_is(request, id.removeprefix(PREFIX), [DOOR])
    except NotFound:
        message = "is not here: it was made elsewhere, redacted, or by another key"
        raise InvalidRequest([FieldError("previous_response_id", message)]) from None
    try:
        await over(follower)
    finally:
        follower.close()
    generation = follower.generation
    said = [Turn.model_validate(each) for each in generation.conversation]
    if generation.call and generation.call.private.get("instructions"):
        said = said[1:]
    answer = await message_of(generation)
    calls = [each.turn for each in answer.calls]
    return [*said, Turn(role="assistant", content=answer.content, tool_calls=calls or None)]


async def _now(request: Request, id: str) -> Follower:
    """As it is; one in the background that was cut off goes on there."""
    follower = await as_it_is(request, id, [DOOR])
    generation = follower.generation
    if generation.call and generation.call.private.get("background") and not generation.ended:
        _keep(generation)
    return follower


async def _come_back(
    request: Request,
    id: str,
    after: int,
    choice: Choice | None = None,
    recalled: Generation | None = None,
) -> Follower:
    """The events behind number `after`; all of them, where all or nothing of the text was heard.

    Then they may be those of the record, which has the whole text as one piece: `recalled`, where
    it was read already.
    """
    visitor = visitor_of(request, Client.SSE, choice)
    asked = choice.request if choice else None
    answer = await service_of(request).generations.come_back(id, after, asked, visitor)
    if isinstance(answer, Resumed):
        return of_door(answer.follower, [DOOR])
    if isinstance(answer, Nothing) or after <= 0:
        if recalled and recalled.ended and not recalled.unfinished:
            return of_door(recalled.follow(), [DOOR])
        return await as_it_is(request, id, [DOOR])
    raise NotFound(f"{NOT_HERE}. Where it has ended, GET it without stream")


def _id(request: Request) -> str:
    id: str = request.path_params["id"]
    return id.removeprefix(PREFIX)


_ID = Parameter("id", "path", "As the response told it.", ID)
_WHOLE: dict[int, Any] = {200: {JSON: bodies.ResponseObject}}
_STREAMED: dict[int, Any] = {
    200: {JSON: bodies.ResponseObject, STREAM: bodies.ResponseEvent},
    500: {JSON: bodies.ResponseObject},
}
_FAILURES = (404, 503)

routes = [
    Operation(
        "POST",
        "/v1/responses",
        create,
        "createResponse",
        "openai",
        "Answer, and keep the answer",
        _STREAMED,
        _FAILURES,
        body=ResponseFields,
        example={"input": "Hello", "max_output_tokens": 40},
    ),
    Operation(
        "POST",
        "/v1/responses/input_tokens",
        input_tokens,
        "countInputTokens",
        "openai",
        "How many tokens an input has",
        {200: {JSON: bodies.InputTokens}},
        _FAILURES,
        body=ResponseFields,
        example={"input": "Hello"},
    ),
    Operation(
        "GET",
        "/v1/responses/{id}",
        show,
        "getResponse",
        "openai",
        "A response as it is, or the rest of its events",
        {200: {JSON: bodies.ResponseObject, STREAM: bodies.ResponseEvent}},
        _FAILURES,
        parameters=(
            _ID,
            Parameter("stream", "query", "Whether events are wanted.", {"type": "boolean"}),
            Parameter(
                "starting_after",
                "query",
                "The sequence number of the last event that the client has.",
                {"type": "integer", "minimum": 0},
            ),
        ),
    ),
    Operation(
        "POST",
        "/v1/responses/{id}/cancel",
        cancel,
        "cancelResponse",
        "openai",
        "End a response",
        _WHOLE,
        _FAILURES,
        parameters=(_ID,),
    ),
    Operation(
        "DELETE",
        "/v1/responses/{id}",
        delete,
        "deleteResponse",
        "openai",
        "Refused: records are kept",
        {},
        (404,),
        parameters=(_ID,),
    ),
]
