"""Upstream servers that send what is no completion: a text is lost by it, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish
from minivault.backends.upstream import backend, server
from minivault.backends.upstream.bounded import Spoilt
from minivault.backends.upstream.chunks import Said, items
from minivault.errors import Incomplete
from tests.backends.upstream_servers import door, scripted, text, words
from tests.live import wait_for

END = {"choices": [{"text": "", "finish_reason": "stop"}]}


def read(*chunks: Any) -> list[Said | Finish]:
    async def lines() -> AsyncIterator[str]:
        for each in chunks:
            yield f"data: {each if isinstance(each, str) else json.dumps(each)}"

    async def all_of() -> list[Said | Finish]:
        return [each async for each in items(lines(), 1)]

    return asyncio.run(all_of())


def told(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"text": " SECRET", **choice}]}


@pytest.mark.parametrize(
    "chunk",
    [
        "[" * 100_000,
        "SECRET",
        "[]",
        {"choices": {"SECRET": 1}},
        told(text=5),
        told(text=["SECRET"]),
        told(token_ids=["SECRET"]),
        told(token_ids=[1.5]),
        told(logprobs={"tokens": ["a"], "token_logprobs": ["SECRET"]}),
        told(logprobs={"tokens": ["a"], "token_logprobs": [float("nan")]}),
        told(logprobs={"tokens": [7], "token_logprobs": [-1]}),
        told(logprobs={"content": [{"token": "a", "logprob": -1, "bytes": [999]}]}),
        {**END, "usage": ["SECRET"]},
        {**END, "usage": {"completion_tokens": "SECRET"}},
        {**END, "usage": {"completion_tokens": -1}},
        {"error": {"message": "SECRET"}},
    ],
)
def test_what_is_no_completion_spoils_a_text_and_is_told_without_its_words(chunk: Any) -> None:
    with pytest.raises(Spoilt) as raised:
        read(chunk, END)
    assert "SECRET" not in str(raised.value)


def test_what_has_no_utf_8_is_replaced() -> None:
    scored = {"tokens": ["\udc80"], "token_logprobs": [-1]}
    said, _ = read(told(text="a\ud800b \U0001f600", logprobs=scored), END)
    assert isinstance(said, Said)
    assert said.piece.text == "a\N{REPLACEMENT CHARACTER}b \U0001f600"
    assert said.piece.logprobs[0].token.text == "\N{REPLACEMENT CHARACTER}"


def test_a_request_that_breaks_its_text_takes_the_server_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "PATIENCE", backend.TICK)  # one that was left out is missed
    with scripted(poison=666) as only, door(tmp_path, only) as (live, client):
        for _ in range(3):
            with pytest.raises(Incomplete, match="in a row were lost"):
                text(client, seed=666)
            assert live.service.problem() is None
            assert text(client) == words(100, 20)


def test_a_server_that_is_silent_keeps_no_other_from_coming_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(backend, "PATIENCE", backend.TICK)
    with scripted() as silent, scripted() as busy, door(tmp_path, silent, busy) as (live, client):
        silent.status = busy.status = 503
        with pytest.raises(Incomplete):
            text(client)
        silent.mute = True
        wait_for(lambda: silent.unheard)
        busy.status = 200
        wait_for(lambda: live.service.problem() is None)
        monkeypatch.setattr(backend, "PATIENCE", 30)
        assert text(client) == words(100, 20)
