"""Every error has one shape, says what would be right, and tells nothing of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from minivault import errors
from minivault.resources import resource
from minivault.schemas import GenerateRequest
from minivault.web.middleware.headers import AnswerHeaders
from minivault.web.middleware.request_id import RequestId
from minivault.web.problems import answer, exception_handlers

CANARY = "canary-prompt"


def raising(error: BaseException) -> TestClient:
    async def route(request: Request) -> Response:
        raise error

    return client(Route("/", route))


def client(*routes: Route) -> TestClient:
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AnswerHeaders), Middleware(RequestId)],
        exception_handlers=exception_handlers,
    )
    return TestClient(app)


def every_error(root: type[errors.MiniVaultError]) -> Iterator[type[errors.MiniVaultError]]:
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def made(kind: type[errors.MiniVaultError]) -> errors.MiniVaultError:
    if kind is errors.PromptTooLong:
        return errors.PromptTooLong(5000, 4096)
    if issubclass(kind, errors.InvalidRequest):
        return kind([errors.FieldError("top_k", "is too high")])
    if kind is errors.ChainBroken:
        return errors.ChainBroken("log.jsonl", 3, "was changed")
    return kind("what is wrong")


@pytest.mark.parametrize("kind", list(every_error(errors.MiniVaultError)), ids=lambda k: k.__name__)
def test_every_error_of_the_tree_becomes_a_problem(kind: type[errors.MiniVaultError]) -> None:
    response = raising(made(kind)).get("/")
    assert response.status_code == kind.status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "about:blank"
    assert problem["title"] == kind.title
    assert problem["status"] == kind.status
    assert problem["detail"]


def test_the_documented_statuses_are_those_of_the_tree() -> None:
    statuses = {kind.__name__: kind.status for kind in every_error(errors.MiniVaultError)}
    assert statuses["MalformedRequest"] == 400
    assert statuses["Unauthorized"] == 401
    assert statuses["Forbidden"] == 403
    assert statuses["NotFound"] == 404
    assert statuses["BodyTooLarge"] == 413
    assert statuses["UnsupportedMedia"] == 415
    assert statuses["InvalidRequest"] == statuses["KeyConflict"] == 422
    assert statuses["QueueFull"] == statuses["Draining"] == statuses["LogUnavailable"] == 503


def test_validation_names_each_field() -> None:
    wrong = [errors.FieldError("top_k", "is too high"), errors.FieldError("seed", "is negative")]
    problem = raising(errors.InvalidRequest(wrong)).get("/").json()
    assert problem["errors"] == [
        {"field": "top_k", "message": "is too high"},
        {"field": "seed", "message": "is negative"},
    ]


def test_unavailable_says_when_to_come_again() -> None:
    response = raising(errors.QueueFull("32 are waiting", retry_after=7)).get("/")
    assert response.headers["retry-after"] == "7"


def test_unauthorized_says_how_to_bring_a_key() -> None:
    response = raising(errors.Unauthorized("no key")).get("/")
    assert response.headers["www-authenticate"] == 'Bearer realm="MiniVault"'


def test_an_error_of_pydantic_comes_without_its_input() -> None:
    async def route(request: Request) -> Response:
        GenerateRequest.model_validate({"prompt": "x", "top_k": CANARY})
        raise AssertionError

    response = client(Route("/", route)).get("/")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "top_k"
    assert CANARY not in response.text


def test_an_unknown_address_is_a_problem() -> None:
    response = client().get("/nowhere")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "/docs" in response.json()["detail"]


def test_a_wrong_method_names_the_methods_of_all_routes_of_the_address() -> None:
    async def route(request: Request) -> Response:
        return Response()

    there = client(Route("/x", route, methods=["GET"]), Route("/x", route, methods=["DELETE"]))
    response = there.put("/x")
    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD"
    assert "DELETE, GET, HEAD" in response.json()["detail"]


def test_a_static_file_is_only_read() -> None:
    app = Starlette(
        routes=[Mount("/static", StaticFiles(directory=resource("static")))],
        exception_handlers=exception_handlers,
    )
    response = TestClient(app).post("/static/css/base.css")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def unexpected() -> Exception:
    """An error as a library raises it: its message and its cause quote the prompt."""
    try:
        try:
            f"{CANARY}\ud800".encode()
        except UnicodeEncodeError as inner:
            raise RuntimeError(f"cannot encode {CANARY}") from inner
    except RuntimeError as error:
        return error
    raise AssertionError


def test_an_unexpected_error_tells_nothing_and_is_logged_without_the_prompt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = raising(unexpected()).get("/", headers={"X-Request-Id": "abc-1"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert CANARY not in response.text
    assert "RuntimeError" not in response.text
    assert response.headers["x-request-id"] == "abc-1"
    assert "abc-1" in caplog.text
    assert "builtins.RuntimeError" in caplog.text
    assert "builtins.UnicodeEncodeError" in caplog.text
    assert CANARY not in caplog.text.replace('f"{CANARY}', "").replace("{CANARY}", "")


def test_a_chain_of_errors_that_leads_back_to_itself_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = RuntimeError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert raising(first).get("/").status_code == 500
    assert caplog.text.count("builtins.RuntimeError") == 1


def test_an_error_after_the_first_byte_cuts_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def pieces() -> Any:
        yield "first"
        raise RuntimeError(CANARY)

    async def route(request: Request) -> Response:
        return StreamingResponse(pieces(), media_type="text/plain")

    app = Starlette(
        routes=[Route("/", route)], middleware=[Middleware(AnswerHeaders), Middleware(RequestId)]
    )

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def watched_send(message: Any) -> None:
            sent.append(message)
            await send(message)

        await app(scope, receive, watched_send)

    TestClient(watched).get("/")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"]
    assert "builtins.RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_a_client_that_leaves_while_it_sends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AssertionError):  # nobody is there, so nothing is answered
        raising(ClientDisconnect()).get("/")
    assert caplog.records == [] or all(r.levelno < logging.ERROR for r in caplog.records)


def test_the_answer_is_ascii_whatever_a_field_is_called() -> None:
    wrong = errors.InvalidRequest([errors.FieldError("gr\u00f6\u00dfe\ud800", "is unknown")])
    assert bytes(answer(wrong).body).isascii()
