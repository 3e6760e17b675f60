"""The two plain forms: text as it is made, and one object at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.generations.backends import Reins
from tests.live import LiveServer, live_server, wait_for
from tests.tools import tool
from tests.web.asking import (
    JSON,
    TEXT,
    ask,
    connection,
    counts,
    generate,
    in_loop,
    to_end,
    told_to_end,
    until,
)

BODY = {"prompt": "one two three", "max_tokens": 3, "seed": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("text")) as live:
        yield live


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


# ---- plain text ---------------------------------------------------------------------------------


def test_plain_text_has_its_names_in_the_headers(server: LiveServer) -> None:
    answer = generate(server, "*/*", **BODY)
    record = server.records()[-1]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["minivault-id"] == record["id"]
    assert answer.headers["minivault-seed"] == str(record["seed"]) == "4"
    assert answer.headers["minivault-model"] == record["model"]["name"] == "echo"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-length" not in answer.headers
    assert answer.text == record["response"]


def test_a_seed_that_was_drawn_is_reported_and_makes_the_same_text(server: LiveServer) -> None:
    first = generate(server, TEXT, max_tokens=5)
    again = generate(server, TEXT, max_tokens=5, seed=int(first.headers["minivault-seed"]))
    assert first.content == again.content
    assert first.headers["minivault-id"] != again.headers["minivault-id"]


def test_it_comes_piece_by_piece_and_ends_after_the_line_is_on_disk(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    with live_server(tmp_path, reins) as server:
        with connection(server, "POST", "/generate", TEXT, BODY) as opened:
            until(opened, "\r\n ")  # the first word's chunk, while the next is not made
            assert counts(server)["running"] == 1
            reins.go()
            assert to_end(opened).endswith(b"0\r\n\r\n")
            [record] = server.records()  # read at once: nothing is waited for
        assert record["finish_reason"] == "length"


def test_a_failed_one_ends_without_the_closing_chunk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with live_server(tmp_path, Reins(allowed=9, fail_at=1)) as server:
        with connection(server, "POST", "/generate", TEXT, BODY) as opened:
            answer = to_end(opened)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert headers_of(answer)["transfer-encoding"] == "chunked"
        assert not answer.endswith(b"0\r\n\r\n")
        with pytest.raises(httpx.RemoteProtocolError):
            generate(server, TEXT, **BODY)
        [record, _] = server.records()
        assert answer.endswith(f"{record['response']}\r\n".encode())
        assert record["finish_reason"] == "error"


def test_an_interrupted_one_ends_without_the_closing_chunk(tmp_path: Path) -> None:
    with (
        live_server(tmp_path, Reins(allowed=1)) as server,
        connection(server, "POST", "/generate", TEXT, BODY) as opened,
    ):
        head = until(opened, "\r\n ")
        told_to_end(server)
        assert not (head + to_end(opened)).endswith(b"0\r\n\r\n")
        assert server.records()[-1]["finish_reason"] == "interrupted"


def test_a_stopped_one_ends_as_it_should(tmp_path: Path) -> None:
    with (
        live_server(tmp_path, Reins(allowed=1)) as server,
        connection(server, "POST", "/generate", TEXT, BODY) as opened,
    ):
        head = until(opened, "\r\n\r\n")
        ask(server, "DELETE", f"/generate/{headers_of(head)['minivault-id']}")
        assert (head + to_end(opened)).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("fail_at, code", [(1, 18), (None, 0)])
def test_curl_reports_a_text_that_is_not_whole(
    tmp_path: Path, fail_at: int | None, code: int
) -> None:
    with live_server(tmp_path, Reins(allowed=9, fail_at=fail_at)) as server:
        command = [tool("curl"), "-s", "--no-buffer", "--max-time", "20", "--noproxy", "*"]
        command += [f"{server.url}/generate", "-d", json.dumps(BODY)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == code
        assert done.stdout == server.records()[0]["response"]
        assert len(done.stdout.split()) == (1 if fail_at else 3)


# ---- one object ---------------------------------------------------------------------------------


def test_the_object_has_all_that_the_contract_names(server: LiveServer) -> None:
    answer = generate(server, JSON, **BODY)
    record = server.records()[-1]
    data = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["minivault-id"] == data["id"] == record["id"]
    assert list(data) == [
        *("id", "model", "text", "finish_reason", "usage", "timings", "seed", "params", "receipt")
    ]
    assert data["text"] == record["response"]
    assert data["seed"] == 4
    assert data["receipt"]["seq"] == record["seq"]
    for name in ("finish_reason", "usage", "timings", "params"):
        assert data[name] == record[name], name


def ended(server: LiveServer, how: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    """Status, headers and object of a JSON answer that ends like this."""
    shelf = server.service.registry.shelf
    with connection(server, "POST", "/generate", JSON, body) as opened:
        if how != "error":
            wait_for(
                lambda: in_loop(server, lambda: [each.text.said for each in shelf.open()]) > [""]
            )
            [running] = in_loop(server, shelf.open)
            if how == "cancelled":
                ask(server, "POST", f"/generate/{running.id}/stop")
            else:
                told_to_end(server)
        answer = to_end(opened)
    status = int(answer.split(b" ")[1])
    return status, headers_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "how, status, fail_at",
    [("cancelled", 200, None), ("interrupted", 503, None), ("error", 500, 1)],
)
def test_the_status_says_how_it_ended_and_the_object_what_was_said(
    tmp_path: Path, how: str, status: int, fail_at: int | None
) -> None:
    with live_server(tmp_path, Reins(allowed=9 if fail_at else 1, fail_at=fail_at)) as server:
        found, headers, data = ended(server, how, BODY | {"prompt": "CANARY"})
        [record] = server.records()
    assert found == status
    assert data["finish_reason"] == record["finish_reason"] == how
    assert data["text"] == record["response"] != ""
    assert ("retry-after" in headers) == (status == 503)
    assert headers["vary"] == "Accept"
    assert "CANARY" not in json.dumps(data)
    assert ("error" in data) == (how == "error")
    assert headers["content-type"] == "application/json"
