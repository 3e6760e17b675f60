"""A server under a crowd is killed at any moment: whatever any client has read is in the log."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.crowd import SSE, request, talk
from tests.faults.promises import Heard, heard, records, require_kept
from tests.processes import Served, minivault, serving

pytestmark = pytest.mark.slow

KILLS = 100 if os.environ.get("MINIVAULT_FULL") else 6
CLIENTS = 10
LONGEST = 300  # tokens
FORMS = (SSE, SSE, "text/plain", "application/json")


async def _client(port: int, chance: random.Random, told: list[Heard]) -> None:
    """Asks for one text after the other until the server is gone."""
    while True:
        body = {
            "prompt": f"größer 🤖 {chance.random()}\n",
            "max_tokens": chance.randint(1, LONGEST),
        }
        asked = request(method="POST", accept=chance.choice(FORMS), body=body)
        try:
            answer = await talk(port, asked)
        except ConnectionError:
            return
        assert answer.status in (0, 200)
        told.append(heard(answer))


async def _load(server: Served, chance: random.Random, seconds: float) -> list[Heard]:
    """What ten clients heard of a server that lives for so many seconds after the first end."""
    told: list[Heard] = []
    clients = [asyncio.create_task(_client(server.port, chance, told)) for _ in range(CLIENTS)]
    async with asyncio.timeout(60):
        while not any(each.id for each in told):
            await asyncio.sleep(0.005)
    await asyncio.sleep(seconds)
    server.process.kill()
    await asyncio.gather(*clients)
    return told


def _restart(folder: Path, *options: str) -> None:
    """A server that ends in peace: it has recovered what the one before it left."""
    with serving(folder, *options) as server:
        assert server.stop() == 0


def _require_kept(folder: Path, told: list[Heard]) -> None:
    """Also that the crowd was in the middle of something, and that the chain holds."""
    found = records(folder / "logs")
    require_kept(found, told)
    ends = Counter(record.finish_reason for record in found)
    assert set(ends) <= {"stop", "length", "interrupted"}, ends
    assert ends["interrupted"], "no kill found anything unfinished"
    assert [each for each in told if each.receipt], "nobody saw a receipt"
    assert [each for each in told if each.id and not each.end], "nobody was cut off"
    assert not list((folder / "logs").glob("inflight-*"))
    done = minivault("logs", "verify", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_clients_have_read_is_in_the_log_after_each_kill(tmp_path: Path) -> None:
    told: list[Heard] = []
    chance = random.Random(1)
    for _ in range(KILLS):
        with serving(tmp_path) as server:
            require_kept(records(tmp_path / "logs"), told)
            told += asyncio.run(_load(server, chance, chance.uniform(0, 0.3)))
    _restart(tmp_path)
    _require_kept(tmp_path, told)


def test_what_the_storyteller_said_is_in_the_log_after_a_kill(tmp_path: Path) -> None:
    options = ("--model", "storyteller")
    with serving(tmp_path, *options) as server:
        told = asyncio.run(_load(server, random.Random(1), 0.2))
    _restart(tmp_path, *options)
    _require_kept(tmp_path, told)
