"""Which form of an answer a client gets, by its Accept header."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.schemas import Client
from minivault.web.accept import preferred
from tests.live import LiveServer, live_server
from tests.web.asking import JSON, SSE, TEXT, ask, generate, until

NAMES = [("text/event-stream", Client.SSE), ("application/json", Client.JSON)]


@pytest.mark.parametrize("name, client", [*NAMES, ("text/plain", Client.TEXT)])
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        " {} ",
        "{};q=0.001",
        "{}; charset=utf-8",
        "text/html, {};q=0.1, */*",
        ",,{},",
        "{};q=1",
    ],
)
def test_the_one_that_is_named_is_taken(name: str, client: Client, around: str) -> None:
    assert preferred(around.format(name)) is client
    assert preferred(around.format(name).upper()) is client


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/*",
        "application/*",
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "application/problem+json",
        "application/json-seq",
        "text/event-streams",
        "event-stream",
        "json",
        ";q=1",
        ",;,;=,",
        "text/event-stream;q=0",
        "application/json;q=0.0, */*",
        "*/*;q=1, text/plain;q=0",
    ],
)
def test_none_named_is_plain_text(accept: str) -> None:
    assert preferred(accept) is Client.TEXT


@pytest.mark.parametrize(
    "accept, client",
    [
        ("application/json, text/event-stream", Client.SSE),
        ("text/plain, application/json", Client.JSON),
        ("text/plain, text/event-stream", Client.SSE),
        ("text/plain;q=0.3,application/json;q=0.3,text/event-stream;q=0.3", Client.SSE),
        ("text/event-stream;q=0.5, application/json;q=0.9", Client.JSON),
        ("text/event-stream;q=0.5, text/plain;q=0.51", Client.TEXT),
        ("application/json;q=0.899, text/plain;q=0.9, */*", Client.TEXT),
        ("*/*;q=1, application/json;q=0.001", Client.JSON),
        ("text/event-stream;q=0, application/json;q=0.1", Client.JSON),
        ("application/json;charset=utf-8;q=0.2, text/plain;q=0.3", Client.TEXT),
        ("application/json; Q = 0.2 , text/plain;q=0.3", Client.TEXT),
        ("application/json;q=0.1, application/json;q=0.9, text/plain;q=0.5", Client.JSON),
        ('text/plain;note="a, text/event-stream, b"', Client.TEXT),
        (r'application/json;note="\", text/event-stream"', Client.JSON),
    ],
)
def test_the_highest_q_wins_and_ties_have_an_order(accept: str, client: Client) -> None:
    assert preferred(accept) is client


@pytest.mark.parametrize("q", ["", "x", "nan", "-1", "--", "0x1"])
def test_one_with_a_malformed_q_does_not_win_over_a_wellformed_one(q: str) -> None:
    assert preferred(f"text/event-stream;q={q}, application/json;q=0.1") is Client.JSON


@given(st.text(max_size=60) | st.text(alphabet='text/plainjsoevr-m;q=01.,* "\\', max_size=60))
def test_no_header_makes_it_raise(accept: str) -> None:
    assert preferred(accept) in (Client.SSE, Client.JSON, Client.TEXT)


# ---- over HTTP ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("accept")) as live:
        yield live


@pytest.mark.parametrize(
    "accept, content_type",
    [
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
        ("text/html;q=1, */*;q=0", "text/plain; charset=utf-8"),
        ("nonsense;;q=,", "text/plain; charset=utf-8"),
    ],
)
def test_every_answer_varies_by_it_and_none_is_406(
    server: LiveServer, accept: str, content_type: str
) -> None:
    for response in (
        generate(server, accept, max_tokens=2),
        ask(server, "GET", "/generate?prompt=Hello&max_tokens=1", accept),
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == content_type
        assert "accept" in response.headers["vary"].lower()


def test_a_header_in_several_lines_is_one_list(server: LiveServer) -> None:
    headers = [("Accept", "text/html"), ("Accept", JSON + ";q=0.2"), ("Accept", SSE)]
    response = ask(server, "GET", "/generate?prompt=Hello&max_tokens=1", headers=headers)
    assert response.headers["content-type"].startswith(SSE)


def test_without_the_header_it_is_plain_text(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as opened:
        opened.sendall(
            b"GET /generate?prompt=Hello&max_tokens=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert f"content-type: {TEXT}".encode() in until(opened, "\r\n\r\n")
