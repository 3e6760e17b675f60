"""Every route as documentation tells it: what it takes, what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from minivault.schemas import GenerateRequest
from minivault.web import answers
from minivault.web.log_query import RecordQuery

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
STREAM, LINES = "text/event-stream", "application/x-ndjson"

TAGS = {
    "generations": "Start, follow, resume and stop.",
    "log": "What was asked and said: search, verify, replay.",
    "server": "What serves, and how it fares.",
    "pages": "For people.",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is no field of a model."""

    name: str
    place: Literal["path", "header", "query"]
    help: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answers`: by status, the forms it comes in and their models."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    answers: Mapping[int, Mapping[str, type[BaseModel] | None]]
    problems: tuple[int, ...] = ()
    details: str = ""
    parameters: tuple[Parameter, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_type: str = JSON
    example: Mapping[str, Any] | None = None  # of the body


class LoginForm(BaseModel):
    """What the login form posts."""

    key: str
    next: str = Field(default="/", description="Where to go then: /, /docs or /logs.")


GENERATION = Parameter(
    "id",
    "path",
    "The generation's id, as `start`, `MiniVault-Id` and the record tell it.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
)
SEQ = Parameter("seq", "path", "The record's sequence number.", {"type": "integer", "minimum": 1})
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "header",
    "The last event's id that the client has: the rest follows, nothing new is started.",
    {"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,100}$"},
)
LAST_EVENT_ID_QUERY = Parameter(
    "lastEventId", "query", "The same as `Last-Event-ID`.", LAST_EVENT_ID.schema
)

_GUARDED = (400, 401, 403)
# The first one is what a client gets that names none of them.
_FORMS = {TEXT: None, JSON: answers.GenerateAnswer, STREAM: None}
_GENERATION: Mapping[int, Mapping[str, type[BaseModel] | None]] = {
    200: _FORMS,
    204: {},
    500: {JSON: answers.GenerateAnswer},
    503: {JSON: answers.GenerateAnswer},
}
_STARTING = """\
The text comes as `Accept` says: one object at the end, the text itself as it is made, or events.

With `Last-Event-ID` the rest of an earlier generation follows and nothing new is started; 204 if
there is no rest. A request is accepted once its begin is on disk; the last event, and the end of
the text, come after its record is.
"""

OPERATIONS = (
    Operation(
        "POST",
        "/generate",
        "generate",
        "generations",
        "Start a generation",
        _GENERATION,
        (*_GUARDED, 404, 413, 415, 422, 500, 503),
        _STARTING,
        (LAST_EVENT_ID, LAST_EVENT_ID_QUERY),
        body=GenerateRequest,
        example={"prompt": "Once upon a time", "max_tokens": 40},
    ),
    Operation(
        "GET",
        "/generate",
        "generateByQuery",
        "generations",
        "Start a generation, for EventSource",
        _GENERATION,
        (*_GUARDED, 404, 422, 500, 503),
        _STARTING,
        (LAST_EVENT_ID, LAST_EVENT_ID_QUERY),
        query=GenerateRequest,
    ),
    Operation(
        "GET",
        "/generate/{id}",
        "follow",
        "generations",
        "Follow or resume a generation",
        _GENERATION,
        (*_GUARDED, 404, 422, 500, 503),
        parameters=(GENERATION, LAST_EVENT_ID, LAST_EVENT_ID_QUERY),
    ),
    Operation(
        "DELETE",
        "/generate/{id}",
        "stop",
        "generations",
        "Stop a generation",
        {200: {JSON: answers.Stopped}},
        (*_GUARDED, 404, 500, 503),
        parameters=(GENERATION,),
    ),
    Operation(
        "POST",
        "/generate/{id}/stop",
        "stopByPost",
        "generations",
        "Stop a generation, where DELETE cannot be sent",
        {200: {JSON: answers.Stopped}},
        (*_GUARDED, 404, 413, 415, 500, 503),
        parameters=(GENERATION,),
    ),
    Operation(
        "GET",
        "/logs/records",
        "listRecords",
        "log",
        "Records, newest first",
        {200: {JSON: answers.RecordPage}},
        (*_GUARDED, 422, 500),
        query=RecordQuery,
    ),
    Operation(
        "GET",
        "/logs/records/{seq}",
        "showRecord",
        "log",
        "One record",
        {200: {JSON: answers.RecordDetail}},
        (*_GUARDED, 404, 500),
        parameters=(SEQ,),
    ),
    Operation(
        "POST",
        "/logs/records/{seq}/replay",
        "replayRecord",
        "log",
        "Make a record's text again and compare",
        {200: {JSON: answers.ReplayAnswer, LINES: None}},
        (*_GUARDED, 404, 413, 415, 500, 503),
        parameters=(SEQ,),
    ),
    Operation(
        "GET",
        "/logs/verify",
        "verifyLog",
        "log",
        "Whether nothing was changed and nothing is missing",
        {200: {JSON: answers.Verification, LINES: None}},
        (*_GUARDED, 500),
    ),
    Operation(
        "GET",
        "/logs/history",
        "showHistory",
        "log",
        "Requests and tokens over time",
        {200: {JSON: answers.History}},
        (*_GUARDED, 500),
    ),
    Operation(
        "GET",
        "/logs/download",
        "downloadLog",
        "log",
        "The lines as they stand, oldest first",
        {200: {LINES: None}},
        (*_GUARDED, 422, 500),
        query=RecordQuery,
    ),
    Operation(
        "GET",
        "/health",
        "health",
        "server",
        "Whether work is taken",
        {200: {JSON: answers.Health}, 503: {JSON: answers.Health}},
        (400, 500),
    ),
    Operation(
        "GET",
        "/models",
        "models",
        "server",
        "The models on disk, and the one that serves",
        {200: {JSON: answers.Models}},
        (400, 401, 500),
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "server",
        "Prometheus text",
        {200: {TEXT: None}},
        (400, 401, 500),
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "server",
        "This description",
        {200: {JSON: None}},
        (400, 401, 500),
    ),
    Operation("GET", "/", "chat", "pages", "The chat page", {200: {HTML: None}}, (400, 401)),
    Operation(
        "GET", "/logs", "logs", "pages", "The log viewer", {200: {HTML: None}}, (400, 401, 403)
    ),
    Operation("GET", "/docs", "docs", "pages", "This page", {200: {HTML: None}}, (400, 401)),
    Operation("GET", "/login", "loginForm", "pages", "The login form", {200: {HTML: None}}, (400,)),
    Operation(
        "POST",
        "/login",
        "login",
        "pages",
        "Exchange a key for a cookie",
        {303: {}, 401: {HTML: None}, 429: {HTML: None}},
        (400, 403, 413, 415),
        body=LoginForm,
        body_type="application/x-www-form-urlencoded",
        example={"key": "your key", "next": "/"},
    ),
    Operation(
        "POST",
        "/logout",
        "logout",
        "pages",
        "End the login whose cookie comes along",
        {303: {}},
        (400, 403, 413, 415),
    ),
)
