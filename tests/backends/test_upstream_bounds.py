"""Upstream servers that drip, or say too much: nothing waits for them without end, or holds it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minivault.backends.upstream import bounded, counting, server
from minivault.backends.upstream.server import UpstreamServer
from minivault.errors import Lost
from tests.backends.upstream_servers import door, scripted, text, words


def test_counting_has_one_deadline_two_servers_and_says_once_that_none_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counting, "COUNTING", 0.5)
    with (
        scripted(drips=True) as one,
        scripted(drips=True) as two,
        scripted(drips=True) as three,
        door(tmp_path, one, two, three) as (live, client),
        caplog.at_level(logging.WARNING, "minivault"),
    ):
        begin = time.monotonic()
        assert text(client) == text(client) == words(100, 20)
        assert time.monotonic() - begin < 10  # without a deadline it is never
        assert [each.counted for each in (one, two, three)] == [2, 2, 0]
        assert caplog.text.count("no upstream server counts prompts now") == 1
        assert "counts prompts now" in str(client.health())
        two.drips = False
        assert text(client) == words(100, 20)
        assert live.records()[-1]["usage"]["prompt_tokens"] == 1
        assert "counts prompts now" not in str(client.health())


def served(content: Any, status: int = 200) -> httpx2.AsyncClient:
    """A client of a server that answers everything with these bytes."""
    given = content() if callable(content) else content
    answer = httpx2.MockTransport(lambda _: httpx2.Response(status, content=given))
    return httpx2.AsyncClient(transport=answer)


def lines_of(*chunks: bytes) -> list[str]:
    async def come() -> AsyncIterator[bytes]:
        for each in chunks:
            yield each

    async def read() -> list[str]:
        async with served(come) as http, http.stream("GET", "http://x/") as answer:
            return [each async for each in bounded.lines(answer.aiter_bytes())]

    return asyncio.run(read())


def test_a_line_of_a_stream_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LONGEST_LINE", 100)
    long = b"x" * 90
    cut = "data: \N{ROCKET}\u2028!".encode()
    found = lines_of(long, b"\n", long + b"\r\n" + cut[:8], cut[8:] + b"\r", b"\nend")
    assert [each for each in found if each] == ["x" * 90, "x" * 90, cut.decode(), "end"]
    with pytest.raises(Lost, match="more than 100 bytes"):
        lines_of(long, long, long)


async def drops() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("body", [drops, b'{"error": {"type": "' + b"x" * 200 + b'"}}'])
def test_the_words_of_a_refusal_have_bounds(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REFUSING", 0.2)
    monkeypatch.setattr(bounded, "LONGEST_REFUSAL", 100)

    async def refused() -> Exception:
        async with served(body, 400) as http, http.stream("GET", "http://x/") as answer:
            return await UpstreamServer("http://x", http, 1)._refusal(answer)

    assert str(asyncio.run(refused())) == "http://x refused with 400 (no reason)"


@pytest.mark.parametrize("body", [drops, b" " * 200 + json.dumps({"data": []}).encode()])
def test_a_probe_has_bounds(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PROBE", 0.2)
    monkeypatch.setattr(bounded, "LONGEST_BODY", 100)

    async def probed() -> str | None:
        async with served(body) as http:
            asked = UpstreamServer("http://x", http, 1)
            await asked.probe()
            return asked.problem

    problem = asyncio.run(probed())
    assert problem
    assert ("TimeoutError" if body is drops else "ValueError") in problem
