"""Every error that leaves by HTTP is written here, as application/problem+json (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ExceptionHandler, Receive, Scope, Send

from minivault.errors import (
    InvalidRequest,
    MiniVaultError,
    TooManyWrongKeys,
    Unauthorized,
    Unavailable,
)
from minivault.schemas import Problem, field_errors
from minivault.trace import trace
from minivault.web.middleware.paths import is_openai, route_path
from minivault.web.openai import envelope

MEDIA_TYPE = "application/problem+json"
INTERNAL = "something went wrong in here; the server's log has it under this request's X-Request-Id"

logger = logging.getLogger("minivault.web")


def answer(error: MiniVaultError) -> Response:
    """The answer for an error of the tree; its class decides status, title and headers."""
    errors, headers = None, {}
    if isinstance(error, InvalidRequest):
        errors = [{"field": each.field, "message": each.message} for each in error.errors]
    elif isinstance(error, Unavailable | TooManyWrongKeys):
        headers = {"Retry-After": str(error.retry_after)}
    elif isinstance(error, Unauthorized):
        headers = {"WWW-Authenticate": 'Bearer realm="MiniVault"'}
    problem = Problem(title=error.title, status=error.status, detail=error.detail, errors=errors)
    return ProblemAnswer(problem, headers, error)


async def _from_http(request: Request, error: Exception) -> Response:
    """The answer for an error of the router: no such address, or not by this method."""
    assert isinstance(error, HTTPException)
    scope = request.scope
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND:
        if "text/html" in Headers(scope=scope).get("accept", ""):
            return HTMLResponse(_nothing_here(scope.get("root_path", "")), status)
        detail = "there is nothing at this address; /docs lists what there is"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        # Every method of the address: it may be several routes, and Starlette looks at the first.
        # What is no route of ours is a static file.
        routes = [route for route in scope["app"].routes if isinstance(route, Route)]
        matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        methods = {method for route in matching for method in route.methods or ()}
        headers["Allow"] = ", ".join(sorted(methods or {"GET", "HEAD"}))
        detail = f"this address takes {headers['Allow']}"
    problem = Problem(title=status.phrase.capitalize(), status=status, detail=detail)
    return ProblemAnswer(problem, headers)


def _nothing_here(root: str) -> str:
    """The same for somebody who mistyped an address in a browser."""
    base = escape(root)
    ways = {"Chat": "/", "Vault": "/logs", "API": "/docs"}
    links = " · ".join(f'<a href="{base}{path}">{name}</a>' for name, path in ways.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Nothing here</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<link rel="stylesheet" href="{base}/static/css/login.css"></head>'
        f"<body><main><h1>There is nothing at this address</h1><p>{links}</p></main></body></html>"
    )


def internal() -> Response:
    """The answer for what nobody foresaw: no word of the inside."""
    return ProblemAnswer(Problem(title=MiniVaultError.title, status=500, detail=INTERNAL))


def log_unexpected(scope: Scope, error: BaseException) -> None:
    """Logs where an unexpected error happened, and of what type each error in its chain is.

    Their messages are left out: they may quote a prompt, as UnicodeEncodeError's does.
    """
    request_id = scope.get("state", {}).get("request_id", "-")
    logger.error("request %s failed:\n%s", request_id, trace(error))


class ProblemAnswer(Response):
    """A problem; under /v1 the same as OpenAI's clients read it."""

    def __init__(
        self,
        problem: Problem,
        headers: Mapping[str, str] | None = None,
        error: MiniVaultError | None = None,
    ) -> None:
        content = json.dumps(problem.model_dump(exclude_none=True))
        super().__init__(content, problem.status, headers, media_type=MEDIA_TYPE)
        if error is None:
            error = MiniVaultError(problem.detail)
            error.status = problem.status
        self._error = error
        self._more = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_openai(route_path(scope)):
            return await super().__call__(scope, receive, send)
        error = self._error
        headers = self._more | envelope.headers_of(error)
        answer = JSONResponse(envelope.envelope(error), envelope.status_of(error), headers)
        await answer(scope, receive, send)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, MiniVaultError)
    return answer(error)


async def _from_validation(request: Request, error: Exception) -> Response:
    """A validation error that got here, without the input: it may be a prompt."""
    assert isinstance(error, ValidationError)
    return answer(InvalidRequest(field_errors(error)))


async def _internal(request: Request, error: Exception) -> Response:
    log_unexpected(request.scope, error)
    return internal()


# Starlette finds a handler by the MRO of what was raised.
exception_handlers: Mapping[Any, ExceptionHandler] = {
    MiniVaultError: _answer,
    ValidationError: _from_validation,
    HTTPException: _from_http,
    Exception: _internal,
}
