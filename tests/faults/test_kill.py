"""A server under a crowd is killed at any moment: whatever any client has read is in the log."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from minivault.engine.engine import Engine
from minivault.engine.sequence import SamplingParams, Sequence
from minivault.engine.tokenizer import load_tokenizer
from tests.engine.gpt2_models import STORYTELLER, load
from tests.event_stream import EventStreamParser, Received
from tests.faults.crowd import SSE, request, talk
from tests.faults.promises import Heard, heard, records, require_kept
from tests.processes import Served, minivault, serving

pytestmark = pytest.mark.slow

KILLS = 100 if os.environ.get("MINIVAULT_FULL") else 6
CLIENTS = 10
LONG = 300  # tokens: such a text halts
FORMS = (SSE, SSE, "text/plain", "application/json")
HALTING = ("--backend", "tests.echoes:Halting")
STORIES = ("--backend", "tests.stories:Halting")


class Crowd:
    """Clients of one server, until it is gone: the even ones want whole texts, one after the
    other, and the odd ones one of which no more than the beginning comes."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.told: list[Heard] = []
        self._port = port
        self._chance = chance
        self._begun = 0

    async def client(self, number: int) -> None:
        begun = False

        def note(received: bytes) -> bool:
            nonlocal begun
            if number % 2 and not begun and b'data: {"text"' in received:
                begun = True
                self._begun += 1
            return False

        while True:
            body = {
                "prompt": f"größer 🤖 {self._chance.random()}\n",
                "max_tokens": LONG if number % 2 else self._chance.randint(1, 10),
            }
            accept = SSE if number % 2 else self._chance.choice(FORMS)
            asked = request(method="POST", accept=accept, body=body)
            try:
                answer = await talk(self._port, asked, vanish=note)
            except ConnectionError:
                return
            assert answer.status in (0, 200)
            self.told.append(heard(answer))

    @property
    def is_busy(self) -> bool:
        """Whether somebody has a receipt, and each of the long texts has begun."""
        return any(each.receipt for each in self.told) and self._begun == CLIENTS // 2


async def _load(server: Served, chance: random.Random) -> list[Heard]:
    """What a crowd heard of a server that is killed at some moment in the midst of it."""
    crowd = Crowd(server.port, chance)
    clients = [asyncio.create_task(crowd.client(number)) for number in range(CLIENTS)]
    async with asyncio.timeout(60):
        while not crowd.is_busy:
            await asyncio.sleep(0.005)
    await asyncio.sleep(chance.uniform(0, 0.3))
    server.process.kill()
    await asyncio.gather(*clients)
    return crowd.told


def _restart(folder: Path) -> None:
    """A server that ends in peace: it has recovered what the one before it left."""
    with serving(folder) as server:
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
        with serving(tmp_path, *HALTING) as server:
            require_kept(records(tmp_path / "logs"), told)
            told += asyncio.run(_load(server, chance))
    _restart(tmp_path)
    _require_kept(tmp_path, told)


def test_what_the_storyteller_said_is_in_the_log_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path, *STORIES) as server:
        told = asyncio.run(_load(server, random.Random(1)))
    _restart(tmp_path)
    _require_kept(tmp_path, told)


#: A text that says again what its prompt says: most of it is guessed ahead.
_AGAIN: dict[str, Any] = {
    "prompt": "The dog said woof. The cat said meow. The cow said moo. " * 6,
    "max_tokens": 200,
    "seed": 3,
    "temperature": 0.3,
    "top_k": 20,
    "top_p": 0.9,
    "repetition_penalty": 1.0,
}


def _said(prompt: str, *, seed: int, **params: Any) -> str:
    """What the storyteller says where nothing is guessed."""
    tokenizer = load_tokenizer(STORYTELLER)
    tokens = tokenizer.encode(prompt)
    engine = Engine(
        load(STORYTELLER, dtype="bfloat16", speculates=False), end_ids=tokenizer.end_ids
    )
    asked = SamplingParams(seed=seed, **params)
    engine.add(Sequence(tokens, asked, tokenizer.text(tokens, ())))
    said = ""
    while engine.busy:
        said += "".join(each.text for each in engine.step())
    tokenizer.close()
    return said


def _events(server: Served, *, at_least: int, last_id: str = "") -> list[Received]:
    """Of the one text, as many as have come when there are enough, or it has ended."""
    parser = EventStreamParser()
    received: list[Received] = []
    query = _AGAIN | ({"lastEventId": last_id} if last_id else {})
    asked = Request(f"{server.url}generate?{urlencode(query)}", headers={"Accept": SSE})
    with urlopen(asked, timeout=60) as answer:
        while len(received) < at_least and (data := answer.read1()):
            received += parser.feed(data)
    return received


def test_a_text_that_is_guessed_ahead_goes_on_after_a_kill_byte_for_byte(tmp_path: Path) -> None:
    with serving(tmp_path, *STORIES) as server:
        heard = _events(server, at_least=20)
        server.process.kill()
        server.process.wait()
    (tmp_path / "go").touch()
    with serving(tmp_path, *STORIES) as server:
        rest = _events(server, at_least=999, last_id=heard[-1].id)
        found = server.records()
    pieces = [each for each in heard + rest if each.name == "message"]
    assert [each.number for each in pieces] == list(range(1, len(pieces) + 1))
    text = "".join(each.json["text"] for each in pieces)
    assert text == found[-1]["response"] == _said(**_AGAIN)
    assert found[0]["finish_reason"] == "interrupted"
    timings = found[-1]["timings"]
    assert 0 < timings["accepted"] <= timings["drafted"]
    assert rest[-1].json["timings"] == timings
    replayed = minivault("logs", "replay", "--all", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
