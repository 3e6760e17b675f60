"""Streams over /v1 survive, answers are found again, and records tell how they came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, live_server
from tests.web.asking import ask, in_loop
from tests.web.openai.stage import CHAT, Actor, chat, chunks, refused, said, texts

BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "one two three four five"}],
    "max_tokens": 6,
    "stream": True,
}


def ids(stream: str) -> list[str]:
    return [line[4:] for line in stream.split("\n") if line.startswith("id: ")]


def forget(server: LiveServer, id: str) -> None:
    """As if it had been made long ago."""
    shelf = server.service.registry.shelf
    known = shelf.by_id(id)
    if known:
        in_loop(server, lambda: shelf.drop(known))


@pytest.fixture(scope="module")
def whole(server: LiveServer) -> str:
    return ask(server, "POST", CHAT, json=BODY).text


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("after", [0, 3, 6])
def test_the_rest_of_a_stream_is_the_rest(
    server: LiveServer, whole: str, after: int, kept: bool
) -> None:
    id = ids(whole)[0].split(".")[0]
    if not kept:
        forget(server, id)
    rest = whole[whole.index("\n\n", whole.index(f"id: {id}.{after}\n")) + 2 :]
    path = f"{CHAT}/chatcmpl-{id}?stream=true"
    for asked in (
        ask(server, "GET", f"{path}&starting_after={after}"),
        ask(server, "GET", path, headers={"Last-Event-ID": f"{id}.{after}"}),
        ask(server, "POST", CHAT, json=BODY, headers={"Last-Event-ID": f"{id}.{after}"}),
    ):
        assert asked.text.split('"minivault"')[0] == rest.split('"minivault"')[0]


def test_an_answer_is_found_again(server: LiveServer) -> None:
    for door, path in ((chat, CHAT), (texts, "/v1/completions")):
        made = door(server, max_tokens=3, logprobs=door is chat or 1).json()
        id = made["minivault"]["id"]
        assert ask(server, "GET", f"{path}/{made['id']}").json() == made
        before = len(server.records())
        forget(server, id)
        assert ask(server, "GET", f"{path}/{made['id']}").json() == made
        assert len(server.records()) == before  # nothing was made again
        assert ask(server, "GET", f"/generate/{id}").text.strip()


def test_what_is_over_ends_at_once(server: LiveServer, whole: str) -> None:
    id, _, last = ids(whole)[-1].partition(".")
    asked = ask(server, "GET", f"{CHAT}/chatcmpl-{id}?stream=true&starting_after={last}")
    assert asked.text == "data: [DONE]\n\n"


def test_an_id_of_generate_is_no_completion(server: LiveServer) -> None:
    id = ask(server, "POST", "/generate", json={"prompt": "a"}).headers["MiniVault-Id"]
    assert "GET /generate/" in refused(ask(server, "GET", f"{CHAT}/{id}"), 404)["message"]
    wrong = ask(server, "GET", f"{CHAT}/{id}?stream=true&starting_after=x")
    assert refused(wrong)["param"] == "starting_after"


def test_the_same_key_never_starts_twice(server: LiveServer) -> None:
    headers = {"Idempotency-Key": "a key of any form: (1/2)"}
    body = BODY | {"n": 2, "stream": False}
    first, second = (ask(server, "POST", CHAT, json=body, headers=headers) for _ in range(2))
    assert first.json()["choices"] == second.json()["choices"]
    assert first.json()["id"] == second.json()["id"]


def test_the_record_tells_how_a_text_came(server: LiveServer) -> None:
    extra = {"user": "u-1", "metadata": {"run": "7"}, "store": True, "num_ctx": 5}
    made = chat(server, "a b", n=2, max_tokens=1, seed=5, **extra).json()
    first, second = sorted(server.records()[-2:], key=lambda each: each["seed"])
    assert made["minivault"]["choices"][0]["receipt"]["seq"] == first["seq"]
    for record in (first, second):
        assert record["door"] == "openai.chat"
        assert record["ignored"] == ["store", "num_ctx"]
        assert record["private"] == {"user": "u-1", "metadata": {"run": "7"}}
        assert record["messages"] == [{"role": "user", "content": "a b"}]
    assert "group" not in first
    assert (second["group"], second["index"]) == (first["id"], 1)
    assert made["id"] == f"chatcmpl-{first['id']}"


def test_the_headers_tell_it_too(server: LiveServer) -> None:
    answer = chat(server, max_tokens=1, seed=3, n=2, verbosity="low")
    assert answer.headers["MiniVault-Seed"] == "3, 4"
    assert answer.headers["MiniVault-Ignored"] == "verbosity"
    assert answer.headers["MiniVault-Id"] == answer.json()["minivault"]["choices"][0]["id"]
    assert answer.headers["openai-processing-ms"].isdigit()
    odd: dict[str, Any] = {"a\x1f\n\u20ac": 1, " ": 2, "": 3}
    answer = chat(server, max_tokens=1, **odd)
    assert answer.headers["MiniVault-Ignored"] == "a??\\u20ac, ?, ?"
    assert answer.json()["minivault"]["ignored"] == ["a\x1f\n\\u20ac", " ", ""]
    stream = chat(server, max_tokens=1, seed=3, stream=True)
    assert stream.headers["MiniVault-Seed"] == "3"


@pytest.fixture
def other(server: LiveServer, tmp_path: Path) -> Iterator[LiveServer]:
    """Another server with the same secret and a log of its own."""
    secret = server.service.settings.logs_dir / "secret"
    with live_server(tmp_path, Actor(), secret_file=secret) as live:
        yield live


def test_another_server_goes_on_where_the_request_is_told_again(
    other: LiveServer, whole: str
) -> None:
    last = ids(whole)[2]
    rest = ask(other, "POST", CHAT, json=BODY, headers={"Last-Event-ID": last})
    assert said(chunks(rest)) == said(
        [json.loads(each[6:]) for each in whole.split("\n") if each.startswith("data: {")][3:]
    )
    id = last.split(".")[0]
    assert (
        "POST the same request"
        in refused(ask(other, "GET", f"{CHAT}/chatcmpl-{'x' * 64}"), 404)["message"]
    )
    assert ask(other, "GET", f"{CHAT}/chatcmpl-{id}").status_code == 200


def test_a_model_without_a_template_can_refuse_to_chat(tmp_path: Path) -> None:
    with live_server(tmp_path, Actor(), plain_chat=False) as server:
        assert refused(chat(server))["param"] == "messages"
        assert texts(server, max_tokens=1).status_code == 200
