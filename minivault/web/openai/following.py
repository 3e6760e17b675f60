"""GET /v1/chat/completions/{id}, /v1/completions/{id}: what was made, the rest of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container

from starlette.requests import Request
from starlette.responses import Response

from minivault.errors import FieldError, InvalidRequest, NotFound
from minivault.generations import Follower, Nothing, Resumed, Visitor
from minivault.generations.generation_id import EventId, parse_event_id
from minivault.schemas import UNFINISHED, Client
from minivault.web import sse
from minivault.web.carried import caller_of, service_of
from minivault.web.openai import bodies
from minivault.web.openai.answering import WholeAnswer, stream
from minivault.web.openai.asked import Choice
from minivault.web.openai.ending import DONE
from minivault.web.openai.parts import answers_of
from minivault.web.openai.shapes import SHAPES
from minivault.web.openai.telling import Told
from minivault.web.operations import JSON, STREAM, Operation, Parameter

NOT_HERE = (
    "nothing with this id is here: it was made elsewhere, redacted, or by another key. POST the "
    "same request with the last id as Last-Event-ID, and it goes on here; servers that share their "
    "log's folder (--logs-dir) have each other's answers"
)


async def follow(request: Request) -> Response:
    """The whole answer, or with `stream=true` its chunks, from behind the last one that is known.

    A stream that has gone is made again, with the same bytes.
    """
    id = request.path_params["id"]
    for shape in SHAPES.values():
        id = id.removeprefix(shape.prefix)
    if request.query_params.get("stream", "false").lower() != "true":
        followers = [await as_it_is(request, id, SHAPES)]
        return WholeAnswer(Told(followers, answers=await answers_of(followers)))
    after = _after(request, id)
    return await rest(request, id, after)


async def rest(request: Request, id: str, after: int, choice: Choice | None = None) -> Response:
    """The chunks behind event number `after`; `choice`: the request, where it is told again."""
    visitor = visitor_of(request, Client.SSE, choice)
    asked = choice.request if choice else None
    answer = await service_of(request).generations.come_back(id, after, asked, visitor)
    if isinstance(answer, Nothing):
        return sse.blocks(_only_done(), (), lambda: b"")
    if not isinstance(answer, Resumed):
        raise NotFound(NOT_HERE)
    followers = [of_door(answer.follower, SHAPES)]
    return stream(Told(followers, skip=after, answers=await answers_of(followers)))


def visitor_of(request: Request, client: Client, choice: Choice | None = None) -> Visitor:
    """One that comes back, and may do so again. `choice`: what it asks, where it says so again."""
    call = choice.call if choice else None
    return Visitor(client, request.scope["state"]["audit"], caller_of(request), True, call)


async def as_it_is(request: Request, id: str, doors: Container[str]) -> Follower:
    """A generation as it is now, of one of these doors; one that was cut off goes on.

    The follower must be closed. Raises NotFound, Unavailable.
    """
    generations, visitor = service_of(request).generations, visitor_of(request, Client.JSON)
    follower = await generations.recall(id, visitor)
    if follower is not None and follower.generation.finish_reason in UNFINISHED:
        follower.close()
        answer = await generations.come_back(id, -1, None, visitor)
        follower = answer.follower if isinstance(answer, Resumed) else None
    if follower is None:
        raise NotFound(NOT_HERE)
    return of_door(follower, doors)


def of_door(follower: Follower, doors: Container[str]) -> Follower:
    """Raises NotFound for a generation that did not come by one of these doors."""
    call = follower.generation.call
    if call is None or call.door not in doors:
        follower.close()
        raise NotFound("this id is of another kind of answer; GET /generate/{id} has the text")
    return follower


def last_of(request: Request) -> EventId | None:
    """Where a client was that POSTs its request again. Raises InvalidRequest."""
    last = request.headers.get("last-event-id")
    known = parse_event_id(last) if last else None
    if last and (known is None or known.n is None):
        message = "must be the id of a block of an earlier answer to the same request"
        raise InvalidRequest([FieldError("Last-Event-ID", message)])
    return known


def _after(request: Request, id: str) -> int:
    """The number of the last event that the client has."""
    last = request.headers.get("last-event-id") or request.query_params.get("starting_after")
    if not last:
        return -1
    if last.isascii() and last.isdigit() and len(last) < 10:
        return int(last)
    known = parse_event_id(last)
    if known is None or known.n is None or known.generation != id:
        message = "must be the number of a block of this answer, or the id of one"
        raise InvalidRequest([FieldError("starting_after", message)])
    return known.n


async def _only_done() -> AsyncIterator[bytes]:
    yield DONE


ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}
_ID = Parameter("id", "path", "As the answer told it.", ID)
_STREAM = Parameter("stream", "query", "Whether chunks are wanted.", {"type": "boolean"})
_AFTER = Parameter(
    "starting_after",
    "query",
    "The number of the last block that the client has, or its id, as `Last-Event-ID`.",
    {"type": "string", "maxLength": 100},
)

routes = [
    Operation(
        "GET",
        path,
        follow,
        name,
        "openai",
        "An answer that was made, or the rest of its stream",
        {200: {JSON: model, STREAM: bodies.ChunkOfStream}},
        (404, 503),
        parameters=(_ID, _STREAM, _AFTER),
    )
    for path, name, model in (
        ("/v1/chat/completions/{id}", "getChatCompletion", bodies.ChatCompletion),
        ("/v1/completions/{id}", "getCompletion", bodies.TextCompletion),
    )
]
