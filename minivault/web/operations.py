"""A route and its description, in one: what it takes, what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
STREAM, LINES = "text/event-stream", "application/x-ndjson"

#: By status, the forms in which an answer comes, and their models.
Answers = Mapping[int, Mapping[str, type[BaseModel] | None]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is no field of a model."""

    name: str
    place: Literal["path", "header", "query"]
    help: str
    schema: Mapping[str, Any]


class Operation(Route):
    """One method of one path. What the guards before every route answer is not repeated here."""

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        id: str,
        tag: str,
        summary: str,
        answers: Answers,
        problems: tuple[int, ...] = (),
        details: str = "",
        *,
        parameters: tuple[Parameter, ...] = (),
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | None = None,
        body_type: str = JSON,
        example: Mapping[str, Any] | None = None,  # of the body
    ) -> None:
        super().__init__(path, endpoint, methods=[method], name=id)
        self.method = method
        self.id = id
        self.tag = tag
        self.summary = summary
        self.answers = answers
        self.problems = problems
        self.details = details
        self.parameters = parameters
        self.query = query
        self.body = body
        self.body_type = body_type
        self.example = example
