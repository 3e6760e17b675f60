"""The routes of /generate over real HTTP: what starts, what is refused, what stops."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.backends.echo import EchoBackend
from minivault.schemas import MAX_SEED, Client, FinishReason
from tests.event_stream import text_of
from tests.generations.backends import Reins
from tests.live import LiveServer, live_server, wait_for
from tests.web.asking import (
    ACCEPTS,
    JSON,
    SSE,
    TEXT,
    ask,
    connection,
    counts,
    events,
    fields,
    generate,
    in_loop,
    problem,
    to_end,
    until,
)

CONTEXT = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("generate")
    with live_server(folder, EchoBackend(context_length=CONTEXT)) as live:
        yield live


def idle(server: LiveServer) -> None:
    """Returns when nothing runs or waits, and every record is on disk."""
    wait_for(lambda: not counts(server)["running"] + counts(server)["waiting"])


def line_count(server: LiveServer) -> int:
    idle(server)
    return len(server.records()) if server.log.exists() else 0


# ---- what is refused ----------------------------------------------------------------------------

TOO_MUCH: list[tuple[str, Any]] = [
    ("prompt", ""),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", CONTEXT + 1),
    ("max_tokens", 10**400),
    ("max_new_tokens", 0),
    ("temperature", -0.001),
    ("temperature", 2.001),
    ("top_k", -1),
    ("top_k", 1001),
    ("top_p", 0),
    ("top_p", -0.5),
    ("top_p", 1.001),
    ("repetition_penalty", 0.999),
    ("repetition_penalty", 2.001),
    ("seed", -1),
    ("seed", MAX_SEED + 1),
    ("key", "seven77"),
    ("key", "x" * 65),
    ("key", "with space"),
    ("key", "schlüssel"),
    ("unknown", 1),
    ("Prompt", "x"),
    ("stop", ["x"] * 9),
    ("stop", ["x", ""]),
]


@pytest.mark.parametrize("name, value", TOO_MUCH)
def test_what_is_out_of_bounds_is_named_by_post_and_get(
    server: LiveServer, name: str, value: Any
) -> None:
    before = line_count(server)
    body = {"prompt": "Hello"} | {name: value}
    posted = ask(server, "POST", "/generate", SSE, content=json.dumps(body))
    assert [each.split(".")[0] for each in fields(posted)] == [name]
    got = ask(server, "GET", "/generate", SSE, params=body)
    assert [each.split(".")[0] for each in fields(got)] == [name]
    assert line_count(server) == before


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_tokens", 1),
        ("max_tokens", CONTEXT),
        ("max_new_tokens", 3),
        ("temperature", 0),
        ("temperature", 2),
        ("top_k", 0),
        ("top_k", 1000),
        ("top_p", 0.0001),
        ("top_p", 1),
        ("repetition_penalty", 1),
        ("repetition_penalty", 2),
        ("seed", 0),
        ("seed", MAX_SEED),
        ("key", "A-Z_a-z9"),
        ("stop", ["x"] * 8),
    ],
)
def test_what_is_just_within_bounds_is_used_and_reported(
    server: LiveServer, name: str, value: Any
) -> None:
    body = {"prompt": "Hello"} | {name: value}
    for answer in (
        ask(server, "POST", "/generate", JSON, json=body),
        ask(server, "GET", "/generate", JSON, params=body),
    ):
        assert answer.status_code == 200, answer.text
        data = answer.json()
        reported = {**data["params"], "seed": data["seed"], "key": body.get("key")}
        reported["max_new_tokens"] = reported["max_tokens_requested"]
        if name == "max_tokens":
            assert reported["max_tokens_requested"] == value
        else:
            assert reported[name] == value


@pytest.mark.parametrize(
    "body, field",
    [
        (b'{"prompt": "a", "prompt": "a"}', "prompt"),
        (b'{"prompt": "a", "max_tokens": 5, "max_new_tokens": 5}', "max_new_tokens"),
        (b'{"prompt": "a", "temperature": NaN}', "temperature"),
        (b'{"prompt": "a", "top_p": Infinity}', "top_p"),
        (b'{"prompt": "a", "temperature": "0.5"}', "temperature"),
        (b'{"prompt": "a", "max_tokens": 5.5}', "max_tokens"),
        (b'{"prompt": "a", "max_tokens": true}', "max_tokens"),
        (b'{"prompt": "a", "seed": null, "top_k": null}', "top_k"),
        (b'{"prompt": "\\udc00"}', "prompt"),
        (b'{"prompt": "\\ud83d\\u0041"}', "prompt"),
        (b'{"prompt": "a", "stop": ["ok", "\\ud800"]}', "stop.1"),
        (b'{"prompt": "a", "stop": "ok"}', "stop"),
        (b'{"prompt": 7}', "prompt"),
        (b'{"prompt": null}', "request"),
        (b"{}", "request"),
    ],
)
def test_what_json_can_hold_and_a_request_cannot(
    server: LiveServer, body: bytes, field: str
) -> None:
    assert fields(ask(server, "POST", "/generate", content=body)) == [field]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"Hello"',
        b"{",
        b'{"prompt": "a"}x',
        b"\xff\xfe",
        b"prompt=Hello",
    ],
)
def test_a_body_that_is_no_json_object_is_400(server: LiveServer, body: bytes) -> None:
    assert "JSON" in problem(ask(server, "POST", "/generate", content=body), 400)["detail"]


@pytest.mark.parametrize(
    "query, field",
    [
        ("prompt=a&prompt=b", "prompt"),
        ("prompt=a&max_tokens=1&max_tokens=1", "max_tokens"),
        ("prompt=a&max_tokens=1&max_new_tokens=1", "max_new_tokens"),
        ("prompt=a&temperature=NaN", "temperature"),
        ("prompt=a&temperature=", "temperature"),
        ("prompt=a&max_tokens=1.5", "max_tokens"),
        ("prompt=a&seed=", "seed"),
        ("prompt=a&stop=", "stop.0"),
        ("prompt=", "prompt"),
        ("", "request"),
        ("max_tokens=5", "request"),
        ("prompt=a&messages=[]", "messages"),
    ],
)
def test_a_wrong_query_is_named(server: LiveServer, query: str, field: str) -> None:
    assert fields(ask(server, "GET", f"/generate?{query}", SSE)) == [field]


@pytest.mark.parametrize("query", ["prompt=%FF", "prompt=%ED%A0%80", "prompt=a&stop=%C3"])
def test_a_query_that_is_no_utf_8_is_refused_instead_of_changed(
    server: LiveServer, query: str
) -> None:
    assert "UTF-8" in problem(ask(server, "GET", f"/generate?{query}"), 400)["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "?"])
def test_a_body_is_json_whatever_its_type_but_a_browser_must_say_so(
    server: LiveServer, kind: str
) -> None:
    body = b'{"prompt": "Hello", "max_tokens": 1}'
    headers = {"Content-Type": kind}
    answer = ask(server, "POST", "/generate", content=body, headers=headers)
    assert answer.status_code == 200
    for browser in ({"Origin": server.url}, {"Sec-Fetch-Site": "same-origin"}):
        refused = ask(server, "POST", "/generate", content=body, headers=headers | browser)
        problem(refused, 415)
        right = {"Content-Type": "application/json; charset=utf-8"} | browser
        assert ask(server, "POST", "/generate", content=body, headers=right).status_code == 200


@pytest.mark.parametrize("accept", ACCEPTS.values())
def test_a_prompt_may_have_one_token_less_than_the_context(server: LiveServer, accept: str) -> None:
    fits = generate(server, JSON, prompt="w " * (CONTEXT - 2) + "w", max_tokens=CONTEXT).json()
    assert fits["usage"] == {"prompt_tokens": CONTEXT - 1, "completion_tokens": 1}
    assert fits["params"]["max_tokens"] == 1
    assert fits["params"]["max_tokens_requested"] == CONTEXT
    for count in (CONTEXT, CONTEXT + 1):
        refused = generate(server, accept, prompt="w " * (count - 1) + "w")
        assert fields(refused) == ["prompt"]
        message = refused.json()["errors"][0]["message"]
        assert f"{count} tokens" in message
        assert str(CONTEXT) in message


def test_the_default_max_tokens_is_cut_to_a_small_context_and_told(server: LiveServer) -> None:
    data = generate(server, JSON, prompt="one two", max_tokens=CONTEXT).json()
    assert data["params"]["max_tokens"] == CONTEXT - 2
    assert data["usage"]["completion_tokens"] == CONTEXT - 2


def test_the_default_fits_whatever_the_context_of_the_model_is(server: LiveServer) -> None:
    answer = generate(server, JSON, prompt="one two")
    assert answer.status_code == 200, answer.text
    assert answer.json()["params"]["max_tokens"] == CONTEXT - 2


# ---- what starts nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/generate?prompt=Hello", "/generate", "/generate/unknown", "/", "/health", "/models"]
)
def test_head_starts_nothing_and_has_no_body(server: LiveServer, path: str) -> None:
    before = line_count(server)
    answer = ask(server, "HEAD", path, SSE)
    assert answer.status_code == 200
    assert answer.content == b""
    assert line_count(server) == before


def test_head_with_a_last_event_id_starts_nothing_either(server: LiveServer) -> None:
    id = generate(server, JSON, max_tokens=2).json()["id"]
    before = line_count(server)
    answer = ask(server, "HEAD", "/generate", SSE, headers={"Last-Event-ID": f"{id}.0"})
    assert (answer.status_code, answer.content, line_count(server)) == (200, b"", before)


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("PUT", "/generate", {"GET", "HEAD", "POST"}),
        ("DELETE", "/generate", {"GET", "HEAD", "POST"}),
        ("POST", "/generate/some-id", {"GET", "HEAD", "DELETE"}),
        ("GET", "/generate/some-id/stop", {"POST"}),
        ("HEAD", "/generate/some-id/stop", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("DELETE", "/models", {"GET", "HEAD"}),
        ("PATCH", "/", {"GET", "HEAD"}),
        ("OPTIONS", "/generate", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_wrong_method_names_the_right_ones(
    server: LiveServer, method: str, path: str, allowed: set[str]
) -> None:
    answer = ask(server, method, path)
    assert set(answer.headers["allow"].split(", ")) == allowed
    assert answer.status_code == 405
    if method != "HEAD":
        problem(answer, 405)


@pytest.mark.parametrize("path", ["/nothing", "/generate/a/b/c", "/Generate", "//"])
def test_an_unknown_address_is_a_problem(server: LiveServer, path: str) -> None:
    problem(ask(server, "GET", path), 404)


# ---- stop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, path", [("DELETE", "/generate/{}"), ("POST", "/generate/{}/stop")]
)
def test_stop_ends_it_with_what_was_said_and_may_be_said_twice(
    tmp_path: Path, method: str, path: str
) -> None:
    reins = Reins(allowed=2)
    with live_server(tmp_path, reins) as server:
        body = {"prompt": "Hello", "max_tokens": 9}
        with connection(server, "POST", "/generate", SSE, body) as opened:
            id = json.loads(until(opened, "}}\n\n").partition(b"data: ")[2].split(b"\n")[0])["id"]
            first = ask(server, method, path.format(id))
            rest = to_end(opened)
        again = [ask(server, *each).json() for each in both(id)]
        wait_for(lambda: reins.live == 0)
        [record] = server.records()
        assert first.status_code == 200
        assert first.json() == {
            "id": id,
            "finish_reason": "cancelled",
            "receipt": {"seq": 1, "hash": first.json()["receipt"]["hash"]},
        }
        assert again == [first.json()] * 2
        assert rest.count(b"event: stopped\n") == 1
        assert record["finish_reason"] == "cancelled"
        assert len(record["response"].split()) == 2


def test_stop_says_what_was_held_back_for_a_stop_string(tmp_path: Path) -> None:
    words = random.Random(1)
    first, second = words.randrange(10**6), words.randrange(10**6)
    body = {"prompt": "Hello", "max_tokens": 9, "seed": 1, "stop": [f" {second} never"]}
    with live_server(tmp_path, Reins(allowed=2)) as server:
        shelf = server.service.registry.shelf
        with connection(server, "POST", "/generate", JSON, body) as opened:
            wait_for(lambda: [each.text.tokens for each in in_loop(server, shelf.open)] == [2])
            [running] = in_loop(server, shelf.open)
            assert running.text.said == f" {first}"
            ask(server, "DELETE", f"/generate/{running.id}")
            answer = json.loads(to_end(opened).partition(b"\r\n\r\n")[2])
        [record] = server.records()
    assert answer["text"] == record["response"] == f" {first} {second}"
    assert record["finish_reason"] == "cancelled"


def both(id: str) -> list[tuple[str, str]]:
    return [("DELETE", f"/generate/{id}"), ("POST", f"/generate/{id}/stop")]


def test_stop_after_the_end_changes_nothing(server: LiveServer) -> None:
    whole = generate(server, JSON, max_tokens=2).json()
    for method, path in both(whole["id"]):
        answer = ask(server, method, path)
        assert answer.json()["finish_reason"] == "length"
        assert answer.json()["receipt"] == whole["receipt"]


@pytest.mark.parametrize("id", ["unknown", "x" * 64, "%0A", "%F0%9F%A7%9A", "a" * 5000])
def test_stop_of_an_unknown_one_is_404(server: LiveServer, id: str) -> None:
    for method, path in both(id):
        problem(ask(server, method, path), 404)


# ---- follow and come back -----------------------------------------------------------------------


def test_following_gives_all_of_it_in_every_form(server: LiveServer) -> None:
    whole = generate(server, JSON, max_tokens=5).json()
    path = f"/generate/{whole['id']}"
    followed = events(ask(server, "GET", path, SSE))
    assert [each.name for each in followed] == ["start", *["message"] * 5, "done"]
    assert followed[0].json["seed"] == whole["seed"]
    assert text_of(followed) == whole["text"]
    assert ask(server, "GET", path, JSON).json() == whole
    assert ask(server, "GET", path, TEXT).text == whole["text"]
    assert line_count(server) == whole["receipt"]["seq"]


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "parameter"])
@pytest.mark.parametrize(
    "path", ["/generate", "/generate?prompt=one+two+three&max_tokens=5", "/generate/{}"]
)
def test_the_rest_comes_after_the_last_event_seen(
    server: LiveServer, path: str, by_header: bool
) -> None:
    whole = generate(server, JSON, max_tokens=5).json()
    before = line_count(server)
    last = f"{whole['id']}.2"
    path = path.format(whole["id"])
    if by_header:
        rest = events(ask(server, "GET", path, SSE, headers={"Last-Event-ID": last}))
    else:
        path += ("&" if "?" in path else "?") + f"lastEventId={last}"
        rest = events(ask(server, "GET", path, SSE))
    assert [each.number for each in rest] == [3, 4, 5, 6]
    assert whole["text"].endswith(text_of(rest))
    assert line_count(server) == before


def test_the_header_wins_over_the_parameter(server: LiveServer) -> None:
    id = generate(server, JSON, max_tokens=5).json()["id"]
    headers = {"Last-Event-ID": f"{id}.4"}
    rest = events(ask(server, "GET", f"/generate?lastEventId={id}.0", SSE, headers=headers))
    assert [each.number for each in rest] == [5, 6]


def test_whoever_has_the_last_event_gets_204(server: LiveServer) -> None:
    id = generate(server, JSON, max_tokens=2).json()["id"]
    for method in ("GET", "POST"):
        for number in (3, 4, 999_999_999):
            headers = {"Last-Event-ID": f"{id}.{number}"}
            answer = ask(server, method, "/generate", SSE, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")


def test_one_comes_back_by_post_with_the_request_or_without(server: LiveServer) -> None:
    whole = generate(server, JSON, max_tokens=5).json()
    headers = {"Last-Event-ID": f"{whole['id']}.4"}
    same = {"prompt": "one two three", "max_tokens": 5}
    for options in ({"json": same}, {}):
        rest = events(ask(server, "POST", "/generate", SSE, headers=headers, **options))
        assert [each.number for each in rest] == [5, 6]
    for change in ({"prompt": "another"}, {"max_tokens": 6}, {"temperature": 0.1}, {"stop": ["x"]}):
        options = {"json": same | change}
        assert fields(ask(server, "POST", "/generate", SSE, headers=headers, **options)) == [
            "Last-Event-ID"
        ]


def test_by_another_address_than_its_own_it_is_refused(server: LiveServer) -> None:
    id, other = (generate(server, JSON, max_tokens=2).json()["id"] for _ in range(2))
    answer = ask(server, "GET", f"/generate/{id}", SSE, headers={"Last-Event-ID": f"{other}.1"})
    assert fields(answer) == ["Last-Event-ID"]


UNREADABLE = [
    "x",
    "x.1",
    "a" * 64 + ".1",
    "a" * 64,
    ".",
    "1",
    "a" * 64 + ".-1",
    "é.1",
    "null",
    "bygone",
]


@pytest.mark.parametrize("last", UNREADABLE)
@pytest.mark.parametrize("query", ["", "?prompt=Hello"])
def test_an_id_of_nobody_is_gone_and_then_nothing(
    server: LiveServer, last: str, query: str
) -> None:
    before = line_count(server)
    headers = {b"Last-Event-ID": last.encode()}
    [event] = events(ask(server, "GET", f"/generate{query}", SSE, headers=headers))
    assert event.name == "gone"
    assert event.json["detail"]
    again = ask(server, "GET", f"/generate{query}", SSE, headers={"Last-Event-ID": event.id})
    assert (again.status_code, again.content) == (204, b"")
    for accept in (JSON, TEXT):
        problem(ask(server, "GET", f"/generate{query}", accept, headers=headers), 404)
    assert line_count(server) == before


@pytest.mark.parametrize(
    "id", ["x", "%C3%A9", "a%0Aevent:%20done%0Adata:%20%7B%7D%0A%0A", "%00", "%0D"]
)
def test_nothing_in_an_address_gets_into_the_stream(server: LiveServer, id: str) -> None:
    [event] = events(ask(server, "GET", f"/generate/{id}", SSE))
    assert event.name == "gone"
    again = ask(server, "GET", f"/generate/{id}", SSE, headers={"Last-Event-ID": event.id})
    assert again.status_code == 204
    problem(ask(server, "GET", f"/generate/{id}", JSON), 404)


# ---- keys ---------------------------------------------------------------------------------------


def test_twenty_at_once_with_one_key_start_one(tmp_path: Path) -> None:
    async def twenty(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(
            timeout=60, trust_env=False, verify=False, base_url=url
        ) as client:
            body: dict[str, Any] = {"prompt": "one two three", "max_tokens": 6}
            body["key"] = "the-same-key"
            accepts = list(ACCEPTS.values())
            return await asyncio.gather(
                *(
                    client.post("/generate", json=body, headers={"Accept": accepts[i % 3]})
                    if i % 2
                    else client.get("/generate", params=body, headers={"Accept": accepts[i % 3]})
                    for i in range(20)
                )
            )

    reins = Reins(allowed=100)
    with live_server(tmp_path, reins) as server:
        answers = asyncio.run(twenty(server.url))
        assert [each.status_code for each in answers] == [200] * 20
        kinds = [answers[i::3] for i in range(3)]
        texts = {text_of(events(each)) for each in kinds[0]}
        texts |= {each.json()["text"] for each in kinds[1]} | {each.text for each in kinds[2]}
        assert len(texts) == 1
        assert reins.runs == 1
        [record] = server.records()
        assert record["response"] in texts


def test_a_key_attaches_across_forms_and_methods_while_it_runs(tmp_path: Path) -> None:
    reins = Reins(allowed=2)
    body: dict[str, Any] = {"prompt": "Hello", "max_tokens": 4, "key": "across-forms"}
    with live_server(tmp_path, reins) as server:
        query = "/generate?prompt=Hello&max_tokens=4&key=across-forms"
        with connection(server, "GET", query, SSE) as first:
            head = until(first, ".2\n")
            with (
                connection(server, "POST", "/generate", JSON, body) as second,
                connection(server, "POST", "/generate", TEXT, body) as third,
            ):
                started = until(third, "\r\n\r\n")
                refused = generate(server, prompt="Another", key="across-forms")
                assert fields(refused) == ["key"]
                reins.go()
                streamed = (head + to_end(first)).partition(b"\r\n\r\n")[2]
                answer = json.loads(to_end(second).partition(b"\r\n\r\n")[2])
                plain = started + to_end(third)
        assert answer["id"].encode() in streamed
        assert (
            f"minivault-id: {answer['id']}".encode() in plain.lower()
            or answer["id"].encode() in plain
        )
        assert reins.runs == 1
        assert [each["response"] for each in server.records()] == [answer["text"]]


def test_the_same_name_of_two_callers_names_two_requests(tmp_path: Path) -> None:
    with live_server(tmp_path, api_key=["first-caller-key", "second-caller-key"]) as server:
        answers = [
            ask(
                server,
                "POST",
                "/generate",
                JSON,
                json={"prompt": f"of the {caller}", "max_tokens": 2, "key": "the-same-name"},
                headers={"Authorization": f"Bearer {caller}-caller-key"},
            )
            for caller in ("first", "second", "first")
        ]
        assert [each.status_code for each in answers] == [200] * 3
        ids = [each.json()["id"] for each in answers]
        assert ids[0] == ids[2] != ids[1]


def test_who_knows_the_id_of_another_caller_neither_reads_nor_stops_it(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    owner, other = ({"Authorization": f"Bearer {name}-caller-key"} for name in ("first", "second"))
    keys = ["first-caller-key", "second-caller-key"]
    query = {"prompt": "mine alone", "max_tokens": 2, "seed": 7}
    with live_server(tmp_path, reins, api_key=keys) as server:
        path = f"/generate?{httpx.QueryParams(query)}"  # type: ignore[arg-type]
        with connection(server, "GET", path, SSE, **owner) as opened:
            head = until(opened, ".1\n")
            [id] = in_loop(server, lambda: [each.id for each in server.service.registry.shelf])
            assert id.encode() in head
            for method, suffix in (("DELETE", ""), ("POST", "/stop")):
                refused = ask(server, method, f"/generate/{id}{suffix}", headers=other)
                assert problem(refused, 404)["detail"] == NOBODYS
            follow(server, id, other)
            assert counts(server)["followers"] == 1
            reins.go()
            assert b"event: done" in to_end(opened)
        follow(server, id, other)
        assert ask(server, "GET", f"/generate/{id}", TEXT, headers=owner).status_code == 200
    with live_server(tmp_path, reins, api_key=keys) as server:  # known from the log alone
        follow(server, id, other)
        again = ask(server, "GET", f"/generate/{id}", TEXT, headers=owner)
        assert again.text == server.records()[0]["response"]


NOBODYS = "no generation with this id is running or kept here"


def follow(server: LiveServer, id: str, headers: dict[str, str]) -> None:
    """Fails unless there is nothing for this caller, with or without the request."""
    for path in (f"/generate/{id}", "/generate?prompt=mine+alone&max_tokens=2&seed=7"):
        for accept in (SSE, TEXT):
            came = {**headers, "Last-Event-ID": f"{id}.0"}
            answer = ask(server, "GET", path, accept, headers=came)
            assert "event: gone" in answer.text or answer.status_code == 404, answer.text


# ---- when the client goes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, accept, key, stays",
    [
        pytest.param("GET", SSE, False, True, marks=pytest.mark.slow),
        pytest.param("GET", SSE, True, True, marks=pytest.mark.slow),
        pytest.param("POST", SSE, True, True, marks=pytest.mark.slow),
        ("POST", SSE, False, False),
        ("GET", TEXT, False, False),
        ("GET", "*/*", False, False),
        ("GET", JSON, False, False),
        ("POST", TEXT, True, False),
        ("POST", JSON, True, False),
        ("GET", JSON, True, False),
    ],
)
def test_who_lives_on_without_a_listener_and_who_stops(
    tmp_path: Path, method: str, accept: str, key: bool, stays: bool
) -> None:
    reins = Reins(allowed=2)
    with live_server(tmp_path, reins) as server:
        server.service.registry._grace = 0.3 if stays else 3600
        body: dict[str, Any] = {"prompt": "Hello", "max_tokens": 4}
        body |= {"key": "some-key-here"} if key else {}
        path = "/generate" if method == "POST" else f"/generate?{httpx.QueryParams(body)}"
        with connection(server, method, path, accept, body if method == "POST" else None):
            wait_for(lambda: reins.live == 1)
            wait_for(lambda: counts(server)["followers"] == 1)
            [generation] = in_loop(server, lambda: list(server.service.registry.shelf))
            left_at = time.monotonic()
        wait_for(lambda: generation.ended)
        if stays:
            assert (generation.times.ended or 0) - left_at >= 0.3
        assert generation.finish_reason is FinishReason.DISCONNECTED
        wait_for(lambda: server.log.exists() and server.records())
        assert server.records()[0]["finish_reason"] == "disconnected"
        assert reins.live == 0


def test_attaching_in_another_form_does_not_make_it_live_on(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    body = {"prompt": "Hello", "max_tokens": 4, "key": "plain-twice"}
    with live_server(tmp_path, reins) as server:
        with connection(server, "POST", "/generate", TEXT, body) as opened:
            until(opened, " ")
            with connection(server, "POST", "/generate", TEXT, body):
                wait_for(lambda: counts(server)["followers"] == 2)
        wait_for(lambda: not counts(server)["running"])
        wait_for(lambda: in_loop(server, server.service.registry.shelf.open) == [])


# ---- not now ------------------------------------------------------------------------------------


def test_while_full_new_ones_get_503_and_who_comes_back_an_empty_stream(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    with live_server(tmp_path, reins, max_running=1, max_waiting=1) as server:
        body = {"prompt": "Hello", "max_tokens": 3}
        done = {"prompt": "Before", "max_tokens": 1, "seed": 1}
        before = ask(server, "POST", "/generate", JSON, json=done).json()
        shelf = server.service.registry.shelf
        with ExitStack() as stack:
            running = stack.enter_context(connection(server, "POST", "/generate", SSE, body))
            until(running, ".1\n")
            waiting = stack.enter_context(connection(server, "POST", "/generate", SSE, body))
            until(waiting, 'event: queued\ndata: {"position":1}\n\n')
            for accept in ACCEPTS.values():
                refused = ask(server, "POST", "/generate", accept, json=body)
                assert "waiting" in problem(refused, 503)["detail"]
                assert int(refused.headers["retry-after"]) > 0
            forget = in_loop(server, lambda: shelf.by_id(before["id"]))
            assert forget
            in_loop(server, lambda: shelf.drop(forget))
            headers = {"Last-Event-ID": f"{before['id']}.0"}
            back = ask(server, "GET", "/generate", SSE, headers=headers)
            # All that the log has is continued, so it needs a place.
            assert events(back) == []
            assert back.content == b"retry: 1000\n\n"
            for accept in (JSON, TEXT):
                problem(ask(server, "GET", "/generate", accept, headers=headers), 503)
            reins.go()
            to_end(running)
            to_end(waiting)


def test_while_draining_what_runs_can_be_followed_and_nothing_new_begins(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    body = {"prompt": "Hello", "max_tokens": 3, "key": "while-draining"}
    with live_server(tmp_path, reins) as server:
        with connection(server, "POST", "/generate", SSE, body) as opened:
            until(opened, ".1\n")
            server.service.drain()
            refused = ask(server, "POST", "/generate", SSE, json={"prompt": "Hello"})
            assert "shutting down" in problem(refused, 503)["detail"]
            with (
                connection(server, "POST", "/generate", JSON, body) as second,
                connection(server, "POST", "/generate", TEXT, body) as third,
            ):
                until(third, "\r\n\r\n")
                reins.go()
                to_end(opened)
                answer = json.loads(to_end(second).partition(b"\r\n\r\n")[2])
                to_end(third)
        assert answer["model"] == "reins"
        assert counts(server)["followers"] == 0


@pytest.mark.parametrize("client", Client)
def test_the_log_says_by_which_door_it_came(server: LiveServer, client: Client) -> None:
    if client is Client.CLI:
        return
    generate(server, ACCEPTS[client], max_tokens=1)
    line_count(server)
    assert server.records()[-1]["client"] == client


def test_length_and_chunks_together_end_the_connection(server: LiveServer) -> None:
    """What two servers may take for another request is none here (RFC 9112, 6.1)."""
    body = json.dumps({"prompt": "one", "max_tokens": 1}).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as opened:
        opened.sendall(head + chunked + smuggled)
        answer = to_end(opened)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1
