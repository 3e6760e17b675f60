"""Requests within the limits of size that are wide: nobody else waits for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.backends.echo import EchoBackend
from tests.generations.backends import Wordy
from tests.live import LiveServer, live_server
from tests.web.asking import JSON, SSE, ask, generate

LARGEST_ANSWER = 64 * 1024
KEY = "a-key-that-is-long-enough"

# A header may have some sixty kilobytes, a query too, a body 256 KiB.
ACCEPTS = {
    "escaped quotes": '"' + '\\"' * 30_000,
    "escaped quotes that are closed": 'a/b;c="' + '\\"' * 29_000 + '"',
    "quotes": '"' * 60_000,
    "backslashes": '"' + "\\" * 60_000,
    "commas": "," * 60_000,
    "semicolons": ";" * 60_000,
    "types": "a/b;q=0.1," * 6_000,
}
QUERIES = {
    "ten thousand parameters": "&".join(f"{number:x}=" for number in range(10_000)),
    "ten thousand times the same": "&".join(["a=1"] * 10_000),
    "nothing but separators": "&" * 60_000,
    "a name of sixty thousand letters": "x" * 60_000 + "=1",
    "escapes": "%41" * 20_000,
}
BODIES: dict[str, Any] = {
    "twenty thousand fields": {f"f{number}": 1 for number in range(18_000)},
    "fields in a message": {"messages": [{f"f{number}": 1 for number in range(18_000)}]},
    "wide messages": {"messages": [{f"f{number}": 1 for number in range(50)}] * 450},
    "messages that are none": {"messages": [{}] * 60_000},
    "stop strings": {"prompt": "x", "stop": ["a"] * 50_000},
    "a list for a prompt": {"prompt": [[]] * 60_000},
    "a long name": {"x" * 250_000: 1},
}
HEADERS = {
    "a thousand headers": {f"X-{number}": "1" for number in range(1_000)},
    "cookies": {"Cookie": "a=1;" * 14_000},
    "a long cookie": {"Cookie": "minivault_key=" + "x" * 60_000},
    "a key": {"Authorization": "Bearer " + "x" * 60_000},
    "an id": {"Last-Event-ID": "x" * 60_000},
    "an origin": {"Origin": "https://" + "x" * 60_000},
    "ranges": {"Range": "bytes=" + "0-1," * 14_000},
    "a language": {"Accept-Language": "en;q=0.1," * 6_000},
    "etags": {"If-None-Match": '"x",' * 14_000},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("wide")
    with live_server(folder, EchoBackend(context_length=40), api_key=[KEY]) as live:
        yield live


def checked(server: LiveServer, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"} | options.pop("headers", {})
    answer = ask(server, method, path, headers=headers, **options)
    assert len(answer.content) <= LARGEST_ANSWER
    assert answer.status_code < 500
    return answer


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)
def test_a_wide_accept_header(server: LiveServer, accept: str) -> None:
    answer = checked(server, "GET", "/generate?prompt=x&max_tokens=1", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("path", ["/generate", "/logs/records", "/login", "/health"])
def test_a_wide_query(server: LiveServer, path: str, query: str) -> None:
    answer = checked(server, "GET", f"{path}?{query}", accept=SSE)
    assert answer.status_code == 422 or (path in ("/login", "/health") and query.count("&") == 0)
    if query.count("&"):
        [error] = answer.json()["errors"]
        assert error["field"] == "query"
        assert error["message"].endswith("at most 64 are read")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_wide_body(server: LiveServer, body: Any) -> None:
    answer = checked(server, "POST", "/generate", content=json.dumps(body), accept=JSON)
    assert answer.status_code in (413, 422)


@pytest.mark.parametrize("name", ["twenty thousand fields", "fields in a message"])
def test_no_work_is_done_for_each_of_twenty_thousand_fields(server: LiveServer, name: str) -> None:
    answer = checked(server, "POST", "/generate", content=json.dumps(BODIES[name]), accept=JSON)
    message = "has 18000 fields in one object; at most 64 are read"
    assert answer.json()["errors"] == [{"field": "request", "message": message}]


@pytest.mark.parametrize("body", ["a&" * 100_000, "key=a&" * 40_000, "key=" + "x" * 200_000])
def test_a_wide_form(server: LiveServer, body: str) -> None:
    assert checked(server, "POST", "/login", content=body).status_code == 401


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("path", ["/generate?prompt=x&max_tokens=1", "/static/css/chat.css", "/"])
def test_wide_headers(server: LiveServer, path: str, headers: dict[str, str]) -> None:
    checked(server, "GET", path, headers=headers)


def test_errors_beyond_the_first_twenty_are_not_told_one_by_one(server: LiveServer) -> None:
    body = {f"f{number}": 1 for number in range(60)}
    answer = checked(server, "POST", "/generate", content=json.dumps(body), accept=JSON)
    assert len(answer.json()["errors"]) == 20


@pytest.mark.slow
def test_a_long_text_with_all_its_probabilities(tmp_path: Path) -> None:
    """A record of three megabytes, and the same as one answer, as a stream and as a record."""
    asked: dict[str, Any] = {
        "prompt": "x",
        "max_tokens": 2000,
        "top_logprobs": 20,
        "key": "long-and-wide",
    }
    with live_server(tmp_path, Wordy()) as server:
        whole = generate(server, **asked).json()
        assert len(whole["logprobs"]) == 2000
        again = ask(server, "GET", f"/generate/{whole['id']}", SSE)
        assert again.text.count('"logprobs"') == 2000
        shown = ask(server, "GET", "/logs/records/1").json()
        assert len(shown["record"]["logprobs"]) == 2000
