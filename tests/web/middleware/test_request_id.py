"""Every request has a name and one line in the access log, without its query."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from starlette.types import Receive, Scope, Send

from minivault.web.middleware.headers import AnswerHeaders
from minivault.web.middleware.request_id import RequestId
from tests.web.guarded import Guarded

CANARY = "canary-prompt"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "minivault.access"]


def test_a_well_formed_id_is_taken_over() -> None:
    site = Guarded()
    response = site.client().get("/models", headers={"X-Request-Id": "Ab.9_-"})
    assert response.headers["x-request-id"] == "Ab.9_-"
    assert site.states[0]["request_id"] == "Ab.9_-"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\x1b[31m", "\u00e9"])
def test_any_other_is_replaced_by_a_new_one(given: str) -> None:
    client = Guarded().client()
    sent = [(b"X-Request-Id", given.encode())]
    first, second = (client.get("/models", headers=sent) for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_one_line_a_request_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="minivault.access"):
        Guarded().client().get(f"/generate?prompt={CANARY}", headers={"X-Request-Id": "abc"})
    (line,) = lines(caplog)
    assert re.fullmatch(r"GET /generate 200 \d+\.\d ms abc", line)
    assert CANARY not in " ".join(r.getMessage() for r in caplog.records if r.name != "httpx2")


def test_a_refused_query_is_not_logged_either(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = Guarded().client()
        client.get(f"/generate?prompt={CANARY}", headers={"Sec-Fetch-Site": "cross-site"})
        client.put(f"/generate?prompt={CANARY}")
        client.get(f"/generate?prompt={CANARY}", headers={"Host": "evil"})
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("minivault")]
    assert CANARY not in " ".join(ours)


def test_an_id_is_shortened_because_it_lets_its_caller_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    id = "AQx7bcde" + "f" * 56
    with caplog.at_level(logging.DEBUG):
        Guarded().client().post(f"/generate/{id}/stop")
    (line,) = lines(caplog)
    assert line.startswith("POST /generate/AQx7bcde.../stop ")


def test_a_path_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Guarded().client().get("/a%0AGET%20/forged%1B[31m" + "x" * 500)
    (line,) = lines(caplog)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "path, status, level",
    [
        ("/health", "200", logging.DEBUG),
        ("/static/css/chat.css", "200", logging.DEBUG),
        ("/static/css/chat.css", "304", logging.DEBUG),
        ("/static/nothing", "404", logging.INFO),
        ("/health", "503", logging.DEBUG),
        ("/health", "400", logging.INFO),
        ("/generate", "200", logging.DEBUG),
        ("/generate", "422", logging.INFO),
        ("/logs/records", "200", logging.DEBUG),
        ("/logs/records/1", "200", logging.DEBUG),
        ("/logs/records/1", "404", logging.INFO),
        ("/generate/AQx7", "200", logging.DEBUG),
        ("/logs", "200", logging.INFO),
        ("/statics", "200", logging.INFO),
    ],
)
def test_what_every_page_brings_is_said_only_if_asked_for(
    path: str, status: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": int(status)})

    async def nothing(*_: object) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    with caplog.at_level(logging.DEBUG, logger="minivault.access"):
        asyncio.run(AnswerHeaders(RequestId(app))(scope, nothing, nothing))  # type: ignore[arg-type]
    assert [r.levelno for r in caplog.records if r.name == "minivault.access"] == [level]
