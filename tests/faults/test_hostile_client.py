"""One client against all: whatever it sends, readers beside it notice nothing.

Five minutes, or as many seconds as MINIVAULT_SIEGE says.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.event_stream import text_of
from tests.faults.crowd import Answer, request, talk
from tests.loop_watch import generosity
from tests.processes import minivault, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("MINIVAULT_FULL") != "1", reason="minutes of load: `make faults` runs it"
    ),
]

SECONDS = float(os.environ.get("MINIVAULT_SIEGE", 300))
AT_ONCE = 3  # attacks
READERS = 3
LONGEST_WAIT = 0.5  # seconds for /health
FIRST_EVENT = 2.0  # seconds until a reader is told its first token or its place
TOKENS = 24
OURS, THEIRS, LOG = "the-readers-own-key", "the-hostile-one-s", "the-key-of-the-log"

#: What the terminal says of a request, and of a generation that has ended.
REQUEST = r"[A-Z]+ \S* (\d{3}|-) [\d.]+ ms \S+"
GENERATION = r"(no line|line \d+)  \d+ tokens?  .+"
SAID = re.compile(rf"\d\d:\d\d ({REQUEST}|{GENERATION})")

Attack = Callable[["Hostile"], Awaitable[object]]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Hostile:
    """A client that means no good, with a key of its own."""

    port: int
    chance: random.Random
    ids: list[str] = field(default_factory=list)  # of the readers' generations
    stolen: list[Answer] = field(default_factory=list)
    failures: list[Answer] = field(default_factory=list)

    async def send(self, raw: bytes, *, vanish: bool = False) -> Answer:
        answer = await talk(self.port, raw, vanish=lambda received: vanish, seconds=60)
        if answer.status == 500:
            self.failures.append(answer)
        return answer

    async def ask(
        self, target: str = "/generate", *, vanish: bool = False, **more: object
    ) -> Answer:
        key = LOG if target.startswith("/logs") else THEIRS
        headers = {**bearer(key), **more.pop("headers", {})}  # type: ignore[dict-item]
        return await self.send(request(target, headers=headers, **more), vanish=vanish)  # type: ignore[arg-type]

    async def crowd(self, count: int, target: str = "/generate", **more: object) -> None:
        await asyncio.gather(*(self.ask(target, **more) for _ in range(count)))  # type: ignore[arg-type]


async def quotes(one: Hostile) -> None:
    await one.ask(accept='"' + '\\"' * 29_000, prompt="x", max_tokens=1)


async def verifications(one: Hostile) -> None:
    await one.crowd(60, "/logs/verify", vanish=True)


async def searches(one: Hostile) -> None:
    await one.crowd(20, "/logs/records", vanish=True, q="nothing like it")
    await one.crowd(5, "/logs/download", vanish=True)
    await one.crowd(5, "/logs/history")


async def models(one: Hostile) -> None:
    await one.crowd(20, "/models", vanish=True)


async def wide(one: Hostile) -> None:
    fields = {f"f{number}": 1 for number in range(18_000)}
    for raw in (
        one.ask(method="POST", body=fields),
        one.ask(method="POST", body={"messages": [fields]}),
        one.ask("/generate?" + "&".join(f"{number:x}" for number in range(9_000))),
    ):
        answer = await raw
        assert answer.status == 422
        assert len(answer.body) <= 64 * 1024


async def vanished(one: Hostile) -> None:
    """Thirty who ask for much and are gone."""
    await asyncio.gather(
        *(one.ask(vanish=True, prompt=f"left {n}", max_tokens=400) for n in range(30))
    )


async def probabilities(one: Hostile) -> None:
    await one.crowd(4, prompt="x", max_tokens=60, top_logprobs=20)


async def whole_vocabulary(one: Hostile) -> None:
    await one.crowd(4, prompt="x", max_tokens=30, top_k=0)


async def replays(one: Hostile) -> None:
    await one.crowd(2, "/logs/records/1/replay", method="POST", accept="application/json")


async def flood(one: Hostile) -> None:
    await one.crowd(64, prompt="flood", max_tokens=8)


async def idle(one: Hostile) -> None:
    found = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(100)]
    await asyncio.sleep(one.chance.random())
    for _, writer in found:
        writer.close()


async def thefts(one: Hostile) -> None:
    """Who knows the id of somebody else."""
    for id in one.ids[-3:]:
        one.stolen.append(await one.ask(f"/generate/{id}"))
        one.stolen.append(await one.ask(f"/generate/{id}", method="DELETE"))


async def wrong_keys(one: Hostile) -> None:
    for _ in range(8):
        await one.send(request("/login", method="POST", accept="*/*", body={"key": "guess"}))
        await one.send(request("/models", headers=bearer("guess")))


ATTACKS: list[Attack] = [
    quotes,
    verifications,
    searches,
    models,
    wide,
    vanished,
    probabilities,
    whole_vocabulary,
    replays,
    flood,
    idle,
    thefts,
    wrong_keys,
]


@dataclass
class Seen:
    """What the others noticed."""

    texts: set[str] = field(default_factory=set)
    first_events: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: int = 0


async def read(port: int, seen: Seen, hostile: Hostile | None = None) -> None:
    """One reader: the same prompt and seed each time, so the same text."""
    first: list[float] = []
    begin = time.monotonic()

    def note(received: bytes) -> bool:
        if not first and (b'data: {"text"' in received or b"event: queued" in received):
            first.append(time.monotonic() - begin)
        return False

    asked = request(
        prompt="Once upon a time",
        max_tokens=TOKENS,
        seed=5,
        headers=bearer(OURS),
        accept="text/event-stream",
    )
    answer = await talk(port, asked, vanish=note, seconds=120)
    if answer.status == 503:
        seen.refused += 1
        return
    assert answer.events[-1].name == "done", answer.events[-1]
    seen.texts.add(text_of(answer.events))
    seen.first_events += first
    if hostile:
        hostile.ids.append(answer.events[0].json["id"])


async def probe(port: int, seen: Seen, end: float) -> None:
    while time.monotonic() < end:
        begin = time.monotonic()
        await talk(port, request("/health", accept="*/*"))
        seen.waits.append(time.monotonic() - begin)
        await asyncio.sleep(0.05)


async def siege(port: int, seconds: float) -> tuple[Seen, Hostile]:
    seen, hostile = Seen(), Hostile(port, random.Random(7))
    await read(port, seen, hostile)
    for target in ("/models", "/logs/history"):  # keys that came before never wait for guesses
        assert (await hostile.ask(target)).status == 200
    end = time.monotonic() + seconds

    async def again(work: Callable[[], Awaitable[object]]) -> None:
        while time.monotonic() < end:
            await work()

    async def attack() -> None:
        left: list[Attack] = []
        while time.monotonic() < end:
            left = left or hostile.chance.sample(ATTACKS, len(ATTACKS))
            await left.pop()(hostile)

    await asyncio.gather(
        probe(port, seen, end),
        *(again(lambda: read(port, seen, hostile)) for _ in range(READERS)),
        *(attack() for _ in range(AT_ONCE)),
    )
    return seen, hostile


def test_readers_beside_a_hostile_client_notice_nothing(tmp_path: Path) -> None:
    foreign = tmp_path / "models" / "foreign"
    foreign.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "U8", "shape": [2**28], "data_offsets": [0, 2**28]}})
    with (foreign / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + 2**28)
    (foreign / "config.json").write_text('{"model_type": "gpt2"}')
    (foreign / "tokenizer.json").write_text("{}")
    keys = ("--api-key", OURS, "--api-key", THEIRS, "--log-key", LOG)
    options = ("--model", "storyteller", "--dtype", "float32", "--kv-memory", "24MiB", *keys)
    with serving(tmp_path, *options, patience=SECONDS + 300) as server:
        seen, hostile = asyncio.run(siege(server.port, SECONDS))
        assert server.stop() == 0
        assert [line for line in server.errors.splitlines() if not SAID.fullmatch(line)] == []
    print(f"{len(seen.first_events)} read; {max(seen.first_events):.2f} s, {max(seen.waits):.2f} s")
    assert len(seen.texts) == 1, "the same seed, the same text"
    assert len(seen.first_events) > READERS
    assert max(seen.first_events) < FIRST_EVENT * generosity()
    assert max(seen.waits) < LONGEST_WAIT * generosity()
    assert seen.refused == 0, "half of the queue is not the hostile one's"
    assert hostile.failures == []
    assert {answer.status for answer in hostile.stolen} <= {200, 404}
    assert all(b"event: gone" in each.body for each in hostile.stolen if each.status == 200)
    assert minivault("logs", "verify", cwd=tmp_path).returncode == 0
