"""A replay on a server waits behind everybody, and is recorded as what it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minivault.vault.replay import Verdict
from tests.generations.backends import Reins
from tests.generations.house import house, rest_of


def test_a_replay_gives_the_same_text_and_leaves_a_record_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=9)) as here:
            follower = await here.start()
            await rest_of(follower)
            record = here.vault.find(follower.generation.id)[0]
            found = await here.generations.replay(record, here.visitor())
            assert found.verdict is Verdict.SAME
            assert here.records()[1]["replays"] == 1
            assert here.records()[1]["response"] == here.records()[0]["response"]
            assert here.records()[1]["id"] != here.records()[0]["id"]

    asyncio.run(scenario())


def test_a_replay_runs_after_everybody_who_came_before_it_ran(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend, max_running=1) as here:
            follower = await here.start()
            await rest_of(follower)
            record = here.vault.find(follower.generation.id)[0]
            backend.allowed = 0
            running = await here.start("first")
            replaying = asyncio.ensure_future(here.generations.replay(record, here.visitor()))
            while here.registry.statistics()["waiting"] < 1:
                await asyncio.sleep(0.001)
            late = await here.start("second")
            backend.go()
            await rest_of(running)
            await rest_of(late)
            assert (await replaying).verdict is Verdict.SAME
            prompts = [record["prompt"] for record in here.records()]
            assert prompts == ["one two", "first", "second", "one two"]

    asyncio.run(scenario())
