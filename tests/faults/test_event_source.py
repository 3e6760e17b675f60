"""A plain EventSource, through everything that can happen to it and to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from minivault.web import sse
from tests.event_stream import parse, text_of
from tests.faults.cutproxy import CutProxy
from tests.faults.reader import event_source
from tests.generations.backends import Reins
from tests.live import live_server, wait_for

PROMPT = "the quick brown 🤖 fox\njumps over"
ASKED: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 60, "seed": 7}


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose connection was cut comes back after a twentieth of a second, not a whole."""
    monkeypatch.setattr(sse, "_RETRY", b"retry: 50\n\n")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fin", "rst"])
@pytest.mark.parametrize("after", [1200, 1201, 1215, 1230, 2000])
def test_a_cut_connection_costs_nothing(
    tmp_path: Path, mode: Literal["fin", "rst"], after: int
) -> None:
    with (
        live_server(tmp_path, allowed_host=["127.0.0.1"]) as server,
        CutProxy(server.port, after_bytes=after, times=2, mode=mode) as proxy,
        event_source(proxy.port, key="my-key-1", **ASKED) as reader,
    ):
        seen = reader.seen()
        assert proxy.cuts == 2
        assert (seen.end, seen.is_seamless) == ("done", True)
        assert [record["response"] for record in server.records()] == [seen.text]


@pytest.mark.slow
def test_a_reader_that_never_closes_is_stopped_by_204_and_starts_nothing_again(
    tmp_path: Path,
) -> None:
    with live_server(tmp_path) as server, event_source(server.port, naive=True, **ASKED) as reader:
        seen = reader.seen()
        assert (seen.end, seen.state, seen.opens) == ("done", 2, 1)
    assert len(server.log.read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_stop_by_somebody_else_is_told_and_final(tmp_path: Path) -> None:
    with (
        live_server(tmp_path, Reins(allowed=9)) as server,
        event_source(server.port, prompt="a b c", max_tokens=20) as reader,
        httpx.Client(base_url=server.url) as client,
    ):
        registry = server.service.registry
        wait_for(lambda: any(len(each.events) > 5 for each in registry.shelf))
        id = next(iter(registry.shelf)).id
        assert client.delete(f"/generate/{id}").json()["finish_reason"] == "cancelled"
        seen = reader.seen()
    assert (seen.end, seen.data and seen.data["finish_reason"]) == ("stopped", "cancelled")


@pytest.mark.slow
def test_away_for_longer_than_a_text_waits_and_the_same_text_goes_on(tmp_path: Path) -> None:
    """Longer than a generation without a listener lives: it ends, and is continued."""
    headers = {"Accept": "text/event-stream"}
    query = {"prompt": "a b c", "max_tokens": "500", "seed": "5"}
    reins = Reins(allowed=9)
    with (
        live_server(tmp_path, reins) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        server.service.registry._grace = 0.1
        with client.stream("GET", "/generate", params=query, headers=headers) as answer:
            chunks = answer.iter_bytes()
            received = b""
            while b'data: {"text"' not in received:
                received += next(chunks)
        first = parse(received)
        wait_for(lambda: server.service.registry.statistics()["running"] == 0)
        reins.go()
        last_seen = {"Last-Event-ID": first[-1].id}
        rest = client.get("/generate", params=query, headers=headers | last_seen)
        second = parse(rest.content)
        records = server.records()
    assert text_of(first) + text_of(second) == records[1]["response"]
    assert [record["finish_reason"] for record in records] == ["disconnected", "length"]
