"""Two real MiniVaults as upstreams of a third: the same bytes, and one of them is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend
from minivault.client import Client
from tests.faults.crowd import Answer, request, talk
from tests.live import LiveServer, live_server
from tests.processes import Served, serving

pytestmark = pytest.mark.slow

PROMPT = "The lighthouse keeper opened the door"


@dataclass(frozen=True)
class House:
    """`rooms` make the text, `door` is before them."""

    rooms: list[Served]
    door: LiveServer
    upstream: UpstreamBackend


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        servers = [
            serving(tmp_path_factory.mktemp("room"), "--backend", "tests.stories:Halting")
            for _ in range(2)
        ]
        rooms = [each.result() for each in [pool.submit(each.__enter__) for each in servers]]
        for each in servers:
            stack.push(each)
        for room in rooms:
            (room.folder / "go").touch()
        upstream = UpstreamBackend([each.url for each in rooms], same_bytes=True)
        door = stack.enter_context(live_server(tmp_path_factory.mktemp("door"), upstream))
        yield House(rooms, door, upstream)


def told(url: str, **asked: Any) -> str:
    with Client(url) as client:
        return client.generate(PROMPT, max_tokens=60, **asked).read().text


def test_a_text_has_the_same_bytes_through_the_door(house: House) -> None:
    for asked in ({"seed": 2**40 + 5}, {"seed": 7, "temperature": 0}, {"seed": 8, "stop": ["."]}):
        assert told(house.door.url, **asked) == told(house.rooms[0].url, **asked)
    with Client(house.door.url) as door, Client(house.rooms[0].url) as room:
        bodies = [
            each.openai().completions.create(
                model="storyteller", prompt=PROMPT, max_tokens=12, seed=1, logprobs=3
            )
            for each in (door, room)
        ]
        ours, theirs = bodies
        assert ours.choices == theirs.choices  # the text, and the log probabilities
        for name in ("prompt_tokens", "completion_tokens"):
            assert getattr(ours.usage, name) == getattr(theirs.usage, name)
        record = house.door.records()[-1]
        assert record["engine"]["kind"] == "minivault"
        assert record["engine"]["logprobs"] == "of the model's own distribution"
        assert record["engine"]["fingerprint"] == theirs.system_fingerprint
        assert door.health()["model"]["chat"] is False  # the storyteller has no template
        assert door.replay(record["seq"])["verdict"] == "same"


def test_who_reads_does_not_notice_that_a_server_was_killed(house: House) -> None:
    victim, witness = house.rooms
    (victim.folder / "go").unlink()  # so that none of its texts ends
    readers, before = 6, len(house.door.records())
    under_way: set[int] = set()

    async def all_of_them() -> list[Answer]:
        def kill_in_the_middle(reader: int, received: bytes) -> bool:
            if len(received) > 2000:
                under_way.add(reader)
            if len(under_way) == readers and victim.process.returncode is None:
                victim.stop(signal.SIGKILL)
            return False

        bodies = ({"prompt": PROMPT, "seed": seed, "max_tokens": 120} for seed in range(readers))
        asked = (request(method="POST", body=each) for each in bodies)
        return list(
            await asyncio.gather(
                *(
                    talk(house.door.port, each, vanish=partial(kill_in_the_middle, reader))
                    for reader, each in enumerate(asked)
                )
            )
        )

    answers = asyncio.run(all_of_them())
    with Client(witness.url) as alone:
        for seed, answer in enumerate(answers):
            assert answer.whole
            text = "".join(each.json["text"] for each in answer.events if each.name == "message")
            assert text == alone.generate(PROMPT, seed=seed, max_tokens=120).read().text
    counted = house.upstream.statistics()
    assert counted["upstreams_lost"] >= 1
    assert (counted["upstreams_working"], counted["upstream_splices"]) == (1, 0)
    records = house.door.records()[before:]
    assert len(records) == readers
    assert all("splices" not in each["engine"] for each in records)
