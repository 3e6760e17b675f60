"""After a mixed load the counters of /metrics and the log tell the same story."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.echo import EchoBackend
from tests.faults.crowd import request, talk
from tests.faults.test_storm import metrics
from tests.live import LiveServer, live_server, wait_for

PIECE = b'data: {"text"'
ENDLESS = 10**6  # tokens
DONE_BEFORE: dict[str, Any] = {"prompt": "whole", "max_tokens": 6, "seed": 1}


class Mixed(EchoBackend):
    """Fails for one prompt after three words."""

    async def generate(self, asked: Request) -> AsyncGenerator[Piece | Finish, None]:
        said = 0
        async for item in super().generate(asked):
            yield item
            said += 1
            if "bad" in asked.prompt and said == 3:
                raise ValueError("a bad prompt")


async def mixed_load(server: LiveServer) -> None:
    """All doors, all ends: whole, left, stopped, failed, resumed, run again."""
    port = server.port
    [done, *_] = await asyncio.gather(
        talk(port, request(**DONE_BEFORE)),
        talk(port, request(accept="text/plain", prompt="a b", max_tokens=7)),
        talk(port, request(accept="application/json", prompt="a b", max_tokens=8)),
        talk(port, request(prompt="bad one", max_tokens=9)),
        talk(port, request(prompt="left", max_tokens=ENDLESS), vanish=lambda got: PIECE in got),
        talk(
            port,
            request(method="POST", body={"prompt": "left", "max_tokens": ENDLESS}),
            vanish=lambda got: PIECE in got,
        ),
    )
    id = done.events[0].json["id"]
    await talk(port, request(last=f"{id}.2", **DONE_BEFORE))
    server.service.registry.shelf.drop(server.service.registry.shelf.by_id(id))  # type: ignore[arg-type]
    await talk(port, request(last=f"{id}.2", **DONE_BEFORE))
    stopping = asyncio.create_task(
        talk(port, request(prompt="stop", max_tokens=ENDLESS, key="stop-1234"))
    )
    while not (known := server.service.registry.shelf.by_key("", "stop-1234")):
        await asyncio.sleep(0.01)
    await talk(port, request(f"/generate/{known.id}", method="DELETE"))
    await stopping


def test_the_counters_agree_with_the_log(tmp_path: Path) -> None:
    with live_server(tmp_path, Mixed(delay=0.002, context_length=2 * ENDLESS)) as server:
        registry = server.service.registry
        registry._grace = 0.2  # so that who left is given up soon
        asyncio.run(mixed_load(server))
        wait_for(lambda: not registry.shelf.open())
        numbers = metrics(server.url)
        records = server.records()
    counts = Counter((record["client"], record["finish_reason"]) for record in records)
    named = {
        f'minivault_requests_finished_total{{client="{client}",finished_reason="{reason}"}}': count
        for (client, reason), count in counts.items()
    }
    assert {name: numbers[name] for name in numbers if "finished_total" in name} == named
    assert {reason for _, reason in counts} == {"length", "cancelled", "disconnected", "error"}
    for client, count in Counter(record["client"] for record in records).items():
        assert numbers[f'minivault_requests_accepted_total{{client="{client}"}}'] == count
    for ours, theirs in (("prompt", "prompt_tokens"), ("generation", "completion_tokens")):
        total = sum(record["usage"][theirs] for record in records)
        assert numbers[f"minivault_{ours}_tokens_total"] == total
    assert numbers["minivault_requests_resumed_total"] == 1
    assert numbers["minivault_requests_continued_total"] == 1
    assert numbers["minivault_requests_continued_total"] == sum("continues" in r for r in records)
    assert numbers["minivault_e2e_request_latency_seconds_count"] == len(records)
    assert numbers["minivault_vault_seq"] == len(records)


def test_every_request_that_is_turned_away_is_counted_by_its_reason(tmp_path: Path) -> None:
    endless = EchoBackend(delay=0.01, context_length=2 * ENDLESS)
    with live_server(tmp_path, endless, max_running=1, max_waiting=0) as server:

        async def refusals() -> list[int]:
            holding = asyncio.create_task(
                talk(server.port, request(prompt="x", max_tokens=ENDLESS))
            )
            while not server.service.registry.statistics()["running"]:
                await asyncio.sleep(0)
            full = await talk(server.port, request(prompt="y"))
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            server.service.drain()
            draining = await talk(server.port, request(prompt="y"))
            return [full.status, draining.status]

        assert asyncio.run(refusals()) == [503, 503]
        numbers = metrics(server.url)
    found = {name: numbers[name] for name in numbers if "refused_total" in name}
    assert found == {
        'minivault_requests_refused_total{reason="queue"}': 1,
        'minivault_requests_refused_total{reason="draining"}': 1,
    }
