"""The routes of /generate: start, follow, resume, stop."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from minivault.background import in_thread
from minivault.errors import FieldError, InvalidRequest, MalformedRequest, NotFound, Unavailable
from minivault.generations import Follower, Gone, Nothing, Visitor
from minivault.generations.generation_id import parse_event_id
from minivault.generations.record import gone_event
from minivault.parsing import parse_body, parse_query
from minivault.schemas import Client, GenerateRequest
from minivault.web import answers, sse
from minivault.web.accept import preferred
from minivault.web.carried import caller_of, service_of
from minivault.web.operations import JSON, STREAM, TEXT, Answers, Operation, Parameter
from minivault.web.text import JsonAnswer, TextStream

LAST_EVENT_ID = "lastEventId"
LARGE = 2**14  # bytes of a body that is not read in the loop


async def start(request: Request) -> Response:
    """GET and POST /generate: a new generation, or the rest of one if the client comes back."""
    if request.method == "HEAD":
        return sse.headers_only()
    last = _last_event_id(request)
    asked = await _asked(request, required=last is None)
    visitor = _visitor(request, asked)
    if last is not None:
        return await _resume(request, last, asked, visitor)
    assert asked is not None
    follower = await service_of(request).generations.start(asked, visitor)
    return _answer(follower, visitor.client)


async def follow(request: Request) -> Response:
    """GET /generate/{id}: follows it from its first event, or from where the client was."""
    if request.method == "HEAD":
        return sse.headers_only()
    id = request.path_params["id"]
    last, visitor = _last_event_id(request), _visitor(request, None)
    if last is None:
        return await _resume_at(request, id, -1, None, visitor)
    known = parse_event_id(last)
    if known and known.generation != id:
        raise InvalidRequest([FieldError("Last-Event-ID", "belongs to another generation")])
    return await _resume(request, last, None, visitor)


async def stop(request: Request) -> Response:
    """DELETE /generate/{id} and POST /generate/{id}/stop."""
    id, caller = request.path_params["id"], caller_of(request)
    generation = await service_of(request).generations.stop(id, caller)
    assert generation.finish_reason is not None
    receipt = generation.events[-1].data.get("receipt")
    return answers.as_json(
        answers.Stopped(id=generation.id, finish_reason=generation.finish_reason, receipt=receipt)
    )


async def _resume(
    request: Request, last: str, asked: GenerateRequest | None, visitor: Visitor
) -> Response:
    event_id = parse_event_id(last)
    if event_id is None:
        known_gone = last.endswith(".gone")
        return Response(status_code=204) if known_gone else _gone("unknown", visitor.client)
    if event_id.n is None:
        return Response(status_code=204)
    return await _resume_at(request, event_id.generation, event_id.n, asked, visitor)


async def _resume_at(
    request: Request, id: str, after: int, asked: GenerateRequest | None, visitor: Visitor
) -> Response:
    try:
        answer = await service_of(request).generations.come_back(id, after, asked, visitor)
    except Unavailable:
        if visitor.client is Client.SSE:
            return sse.come_again()
        raise
    if isinstance(answer, Gone):
        return _gone(id, visitor.client)
    if isinstance(answer, Nothing):
        return Response(status_code=204)
    return _answer(answer.follower, visitor.client)


def _gone(id: str, client: Client) -> Response:
    event = gone_event()
    if client is not Client.SSE:
        raise NotFound(event.data["detail"])
    return sse.once(id if parse_event_id(f"{id}.gone") else "unknown", event)


def _answer(follower: Follower, client: Client) -> Response:
    if client is Client.SSE:
        return sse.stream(follower)
    return JsonAnswer(follower) if client is Client.JSON else TextStream(follower)


async def _asked(request: Request, *, required: bool) -> GenerateRequest | None:
    """The request in the body or the query; None if it may be missing and is."""
    if request.method == "POST":
        body = await request.body()
        if len(body) > LARGE:
            return await in_thread(parse_body, body)
        return parse_body(body) if body or required else None
    query = request.scope["query_string"].decode("latin-1")
    try:  # Starlette would put U+FFFD for what is no UTF-8
        sent = parse_qsl(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedRequest("the query must be UTF-8, percent-encoded") from error
    pairs = [(name, value) for name, value in sent if name != LAST_EVENT_ID]
    return parse_query(pairs) if pairs or required else None


def _last_event_id(request: Request) -> str | None:
    """The header wins; EventSource cannot set one on its first connection, hence the parameter."""
    header = request.headers.get("last-event-id")
    return header or request.query_params.get(LAST_EVENT_ID) or None


def _visitor(request: Request, asked: GenerateRequest | None) -> Visitor:
    """Who asks, and how.

    EventSource comes back by itself, and so may whoever has given the request a name.
    """
    # A header in several lines is one list (RFC 9110, 5.3).
    client = preferred(", ".join(request.headers.getlist("accept")))
    has_key = asked is not None and asked.key is not None
    lives_on = client is Client.SSE and (request.method == "GET" or has_key)
    return Visitor(client, request.scope["state"]["audit"], caller_of(request), lives_on)


_ID = Parameter(
    "id",
    "path",
    "The generation's id, as `start`, `MiniVault-Id` and the record tell it.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
)
_LAST_EVENT = {"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,100}$"}
_RETURNING = (
    Parameter(
        "Last-Event-ID",
        "header",
        "The last event's id that the client has: the rest follows, nothing new is started.",
        _LAST_EVENT,
    ),
    Parameter(LAST_EVENT_ID, "query", "The same as `Last-Event-ID`.", _LAST_EVENT),
)
_WHOLE = {JSON: answers.GenerateAnswer}
_GENERATION: Answers = {
    200: {**_WHOLE, TEXT: None, STREAM: None},  # the first is what /docs asks for
    204: {},
    500: _WHOLE,
    503: _WHOLE,
}
_STOPPED: Answers = {200: {JSON: answers.Stopped}}
_STARTING = """\
The text comes as `Accept` says: one object at the end, the text itself as it is made, or events.

With `Last-Event-ID` the rest of an earlier generation follows and nothing new is started; 204 if
there is no rest. A request is accepted once its begin is on disk; the last event, and the end of
the text, come after its record is.
"""
_FAILURES = (404, 503)

routes = [
    Operation(
        "POST",
        "/generate",
        start,
        "generate",
        "generations",
        "Start a generation",
        _GENERATION,
        _FAILURES,
        _STARTING,
        parameters=_RETURNING,
        body=GenerateRequest,
        example={"prompt": "Once upon a time", "max_tokens": 40},
    ),
    Operation(
        "GET",
        "/generate",
        start,
        "generateByQuery",
        "generations",
        "Start a generation, for EventSource",
        _GENERATION,
        _FAILURES,
        _STARTING,
        parameters=_RETURNING,
        query=GenerateRequest,
    ),
    Operation(
        "GET",
        "/generate/{id}",
        follow,
        "follow",
        "generations",
        "Follow or resume a generation",
        _GENERATION,
        _FAILURES,
        parameters=(_ID, *_RETURNING),
    ),
    Operation(
        "DELETE",
        "/generate/{id}",
        stop,
        "stop",
        "generations",
        "Stop a generation",
        _STOPPED,
        _FAILURES,
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/generate/{id}/stop",
        stop,
        "stopByPost",
        "generations",
        "Stop a generation, where DELETE cannot be sent",
        _STOPPED,
        _FAILURES,
        parameters=(_ID,),
    ),
]
