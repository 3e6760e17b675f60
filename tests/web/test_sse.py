"""The event stream byte by byte, read by a parser of our own after the standard."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from pathlib import Path
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.backends.base import Logprobs, ModelInfo, Piece, Request, TokenLogprob
from minivault.generations import Event
from minivault.web import sse
from tests.event_stream import EventStreamParser, Received, parse, text_of
from tests.generations.backends import Reins
from tests.live import LiveServer, live_server, wait_for
from tests.web.asking import (
    JSON,
    SSE,
    ask,
    connection,
    events,
    generate,
    to_end,
    told_to_end,
    until,
)

ID = "a" * 64
#: Whatever a careless server would let end a line, a field or an event.
NASTY = "\n\r\x00\u0085\u2028\u2029\x0b\x0c\ufeff: data:id:event:🧚\udc00é"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("sse")) as live:
        yield live


# ---- the encoding -------------------------------------------------------------------------------


def cut(data: bytes, seed: int) -> list[bytes]:
    """The bytes in pieces of random length, single bytes among them."""
    sizes, pieces = random.Random(seed), []
    while data:
        size = sizes.choice([1, 1, 2, 3, 7, 1000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@given(
    st.lists(st.text(alphabet=NASTY + "ab ", min_size=1, max_size=12), max_size=8), st.integers()
)
def test_no_text_and_no_cut_of_the_bytes_changes_what_arrives(texts: list[str], seed: int) -> None:
    sent = [Event(None, {"text": text}) for text in texts]
    stream = b"".join(sse.encode(ID, n, event) for n, event in enumerate(sent))
    assert parse(cut(stream, seed)) == parse(stream)
    received = parse(stream)
    assert [each.json["text"] for each in received] == texts
    assert [each.id for each in received] == [f"{ID}.{n}" for n in range(len(texts))]
    assert stream.isascii()


def test_an_event_without_a_number_keeps_the_id_of_the_one_before() -> None:
    stream = sse.encode(ID, 3, Event(None, {"text": "a"}))
    stream += sse.encode(ID, -1, Event("queued", {"position": 1}, numbered=False))
    assert b"id:" not in stream.split(b"\n\n")[1]
    assert [each.id for each in parse(stream)] == [f"{ID}.3"] * 2


# ---- a whole stream -----------------------------------------------------------------------------


def test_a_whole_stream_is_what_the_contract_shows(server: LiveServer) -> None:
    answer = generate(server, SSE, max_tokens=3, seed=5)
    start, *pieces, done = events(answer)
    id = start.json["id"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id)
    assert start.name == "start"
    assert start.json["model"] == "echo"
    assert start.json["seed"] == 5
    assert start.json["prompt_tokens"] == 3
    assert start.json["params"]["max_tokens"] == 3
    assert [each.name for each in pieces] == ["message"] * 3
    assert all(each.json["text"] for each in pieces)
    assert done.name == "done"
    assert done.json["finish_reason"] == "length"
    assert done.json["usage"] == {"prompt_tokens": 3, "completion_tokens": 3}
    assert set(done.json["receipt"]) == {"seq", "hash"}
    assert done.json["timings"]["total_ms"] >= 0
    assert [each.id for each in events(answer)] == [f"{id}.{n}" for n in range(5)]


def test_the_headers_keep_caches_and_proxies_out_of_it(server: LiveServer) -> None:
    headers = generate(server, SSE, max_tokens=1).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["vary"] == "Accept"
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers


def test_the_first_line_is_the_time_to_come_again_after(server: LiveServer) -> None:
    answer = generate(server, SSE, max_tokens=1)
    assert answer.content.startswith(b"retry: 1000\n\n")
    parser = EventStreamParser()
    list(parser.feed(answer.content))
    assert parser.retry == 1000


def test_the_receipt_is_that_of_the_line_on_disk(server: LiveServer) -> None:
    receipt = events(generate(server, SSE, max_tokens=1))[-1].json["receipt"]
    line = server.log.read_bytes().splitlines()[receipt["seq"] - 1]
    assert sha256(line).hexdigest() == receipt["hash"]
    assert json.loads(line)["seq"] == receipt["seq"]


@pytest.mark.parametrize(
    "prompt", [NASTY.replace("\udc00", ""), "日本 🧚‍♀️ e\u0301 שלום", "\x00 \x1b[31m"]
)
def test_what_the_stream_says_is_what_the_log_says(server: LiveServer, prompt: str) -> None:
    received = events(generate(server, SSE, prompt=prompt, max_tokens=9))
    assert len([each for each in received if each.name in ("done", "stopped", "failed")]) == 1
    record = server.records()[received[-1].json["receipt"]["seq"] - 1]
    assert record["response"] == text_of(received)
    assert record["prompt"] == prompt
    assert record["events"] == len(received)


def test_top_logprobs_come_with_the_pieces(server: LiveServer) -> None:
    received = events(generate(server, SSE, max_tokens=3, top_logprobs=2))
    found = [each.json["logprobs"] for each in received if each.name == "message"]
    assert [len(each) for each in found] == [1, 1, 1]
    assert all(len(each[0]["top"]) == 2 for each in found)


class Burst:
    """Says all of its pieces before anybody else has a turn."""

    info = ModelInfo(name="burst", context_length=100)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        for word in ("one ", "two ", "", "three "):
            yield Piece(word, logprobs=(Logprobs(TokenLogprob(word, -0.5)),))


def test_log_probabilities_stay_with_their_own_piece(tmp_path: Path) -> None:
    with live_server(tmp_path, Burst()) as server:
        received = events(generate(server, SSE, max_tokens=9, top_logprobs=1))
    said = [each.json for each in received if each.name == "message"]
    found = [(each["text"], [one["token"] for one in each["logprobs"]]) for each in said]
    assert found == [("one ", ["one "]), ("two ", ["two "]), ("three ", ["", "three "])]


def test_a_replay_is_the_same_bytes_as_the_stream_was(server: LiveServer) -> None:
    live = generate(server, SSE, max_tokens=30)
    id = events(live)[0].json["id"]
    again = ask(server, "GET", f"/generate/{id}", SSE)
    assert again.content == live.content


# ---- ends ---------------------------------------------------------------------------------------


def test_one_that_waits_is_told_its_place_without_an_id(tmp_path: Path) -> None:
    reins = Reins(allowed=1)
    body = {"prompt": "Hello", "max_tokens": 2}
    with live_server(tmp_path, reins, max_running=1) as server:
        with connection(server, "POST", "/generate", SSE, body) as first:
            head = until(first, ".1\n")
            with connection(server, "POST", "/generate", SSE, body) as second:
                place = until(second, "queued\n")
                with connection(server, "POST", "/generate", SSE, body) as third:
                    last = until(third, '"position":2}\n\n')
                    reins.go()
                    streams = [head + to_end(first), place + to_end(second), last + to_end(third)]
        received = [parse(unchunked(stream)) for stream in streams]
        names = [[each.name for each in stream] for stream in received]
        assert names[0] == ["start", "message", "message", "done"]
        assert names[1] == ["start", "queued", "message", "message", "done"]
        assert names[2][:2] == ["start", "queued"]
        for stream in received[1:]:
            queued = [each for each in stream if each.name == "queued"]
            assert {each.id for each in queued} == {stream[0].id}
            assert [each.number for each in stream if each not in queued] == [0, 1, 2, 3]


def unchunked(answer: bytes) -> bytes:
    """The body of a chunked answer (RFC 9112, 7.1)."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def test_a_backend_that_fails_ends_the_stream_with_failed(tmp_path: Path) -> None:
    with live_server(tmp_path, Reins(allowed=9, fail_at=1)) as server:
        received = events(generate(server, SSE, prompt="CANARY", max_tokens=3))
        names = [each.name for each in received]
        assert names == ["start", "message", "failed"]
        assert received[-1].json["finish_reason"] == "error"
        assert received[-1].json["error"]["type"] == "backend"
        assert "CANARY" not in received[-1].data
        assert received[-1].number == 2
        assert "error" not in names


@pytest.mark.parametrize("reproducible", [True, False])
def test_a_server_that_shuts_down_says_so_without_an_id(tmp_path: Path, reproducible: bool) -> None:
    reins = Reins(allowed=1, reproducible=reproducible)
    body = {"prompt": "a", "max_tokens": 3}
    with (
        live_server(tmp_path, reins) as server,
        connection(server, "POST", "/generate", SSE, body) as opened,
    ):
        head = until(opened, ".1\n")
        told_to_end(server)
        stream = unchunked(head + to_end(opened))
    frame = stream.rstrip(b"\n").split(b"\n\n")[-1]
    last = parse(stream)[-1]
    assert last.name == "stopped"
    assert last.json == {"finish_reason": "interrupted", "resumable": reproducible}
    assert (b"id:" in frame) == (not reproducible)


def test_pings_come_while_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sse.PING_SECONDS <= 15
    monkeypatch.setattr(sse, "PING_SECONDS", 0.05)
    reins = Reins(allowed=1)
    with live_server(tmp_path, reins, max_running=1) as server:
        body = {"prompt": "a", "max_tokens": 2}
        with (
            connection(server, "POST", "/generate", SSE, body) as running,
            connection(server, "POST", "/generate", SSE, body) as waiting,
        ):
            streams = [until(each, "\n: ping") for each in (running, waiting)]
            reins.go()
            streams = [
                got + to_end(each) for got, each in zip(streams, (running, waiting), strict=True)
            ]
    for stream in streams:
        parser = EventStreamParser()
        received = list(parser.feed(unchunked(stream)))
        assert parser.comments
        assert all(each.startswith(" ping") for each in parser.comments)
        assert received[-1].name == "done"


def test_two_followers_of_one_get_the_same_events(tmp_path: Path) -> None:
    reins = Reins(allowed=2)
    with live_server(tmp_path, reins) as server:
        with connection(server, "POST", "/generate", SSE, {"prompt": "a", "max_tokens": 5}) as one:
            head = until(one, ".2\n")
            id = re.findall(rb"id: ([\w-]{64})\.0", head)[0].decode()
            with connection(server, "GET", f"/generate/{id}", SSE) as two:
                start = until(two, ".2\n")
                reins.go()
                both = [unchunked(head + to_end(one)), unchunked(start + to_end(two))]
        assert both[0] == both[1]
        assert reins.runs == 1
        assert json.loads(ask(server, "GET", f"/generate/{id}", JSON).text)["text"] == text_of(
            parse(both[0])
        )


def test_the_parser_of_these_tests_is_that_of_the_standard() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\n"[3:] + b":c\r\rdata\r\ndata:  two\r\n\r\nid\ndata:y\n\n"
    assert parse(stream) == [
        Received("message", "x", ""),
        Received("message", "\n two", ""),
        Received("message", "y", ""),
    ]


class Flood:
    """Says more than any buffer between server and reader holds."""

    info = ModelInfo(name="flood", context_length=10_000)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        for _ in range(120):
            yield Piece("flood " * 10_000)
            await asyncio.sleep(0)


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_TIMEOUT", 0.6)
    body = {"prompt": "a", "max_tokens": 120}
    with live_server(tmp_path, Flood()) as server:
        with connection(server, "POST", "/generate", SSE, body) as stuck:
            until(stuck, "flood")
            wait_for(lambda: server.service.registry.statistics()["followers"] == 0)
            assert b"event: done" not in to_end(stuck)
        monkeypatch.setattr(sse, "SEND_TIMEOUT", 600)
        with connection(server, "POST", "/generate", SSE, body) as slow:
            until(slow, "flood")
            sleep(0.4)
            assert b"event: done" in to_end(slow)
