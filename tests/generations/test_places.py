"""Who gets a place: within the backend's memory, in turns of callers, and no replay before."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Request
from minivault.errors import InvalidRequest, QueueFull
from minivault.generations import places
from minivault.generations.generation import Follower, State
from minivault.generations.shelf import KEEP_BYTES
from minivault.vault.replay import Verdict
from tests.generations.backends import Reins, Wordy
from tests.generations.house import House, house, names_of, rest_of, settled, until


@dataclass
class Narrow(Reins):
    """Has memory for so many tokens of text."""

    tokens: int = 20

    def share(self, request: Request, prompt_tokens: int) -> float:
        return (prompt_tokens + request.max_tokens) / self.tokens


async def left_alone(here: House, count: int) -> None:
    for number in range(count):
        (await here.start(f"left {number}", max_tokens=3)).close()
    await settled()


def test_where_memory_is_short_the_vanished_give_their_places_to_a_reader(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Narrow(allowed=1)
        async with asyncio.timeout(60), house(tmp_path, backend, max_running=32) as here:
            await left_alone(here, 30)
            assert backend.live == 4, "as many as the memory holds"
            reader = await here.start("a reader", max_tokens=13)
            assert names_of(await until(reader, 1))[-1] == "piece"
            assert here.registry.statistics()["running"] == 2
            backend.go()
            assert names_of(await rest_of(reader))[-1] == "done"

    asyncio.run(scenario())


def test_who_comes_is_not_weighed_against_each_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand may run: a pass over them for each that comes held the loop for 20 ms."""
    weighed: list[object] = []

    def counted(room: places._Room, generation: Any) -> places._Room:
        weighed.append(generation)
        return places._Room(room.places - 1, room.memory - generation.share)

    async def scenario() -> None:
        backend = Narrow(allowed=1, tokens=10_000)
        async with asyncio.timeout(60), house(tmp_path, backend, max_running=100) as here:
            readers = [await here.start(max_tokens=8) for _ in range(40)]
            await settled()
            monkeypatch.setattr(places._Room, "without", counted)
            readers.append(await here.start(max_tokens=8))
            await settled()
            assert 0 < len(weighed) < 10
            backend.go()
            for each in readers:
                assert names_of(await rest_of(each))[-1] == "done"
            assert here.registry.places._spare == places._Room(100, 1.0)

    asyncio.run(scenario())


def test_where_memory_is_short_and_all_listen_a_newcomer_is_told_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Narrow(allowed=1)
        async with asyncio.timeout(60), house(tmp_path, backend, max_waiting=2) as here:
            readers = [await here.start(max_tokens=8) for _ in range(4)]
            await settled()
            assert backend.live == 2
            queued = [each.take()[-1][1] for each in readers[2:]]
            assert [(each.name, each.data) for each in queued] == [
                ("queued", {"position": 1}),
                ("queued", {"position": 2}),
            ]
            with pytest.raises(QueueFull):
                await here.start(max_tokens=1)
            backend.go()
            for each in readers:
                assert names_of(await rest_of(each))[-1] == "done"
            assert names_of(await rest_of(await here.start(max_tokens=1)))[-1] == "done"

    asyncio.run(scenario())


def test_what_memory_could_never_hold_is_refused_before_it_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Narrow(allowed=9)) as here:
            with pytest.raises(InvalidRequest, match="max_tokens: with this prompt needs 1.1 "):
                await here.start(max_tokens=20)
            assert names_of(await rest_of(await here.start(max_tokens=2)))[-1] == "done"
        assert len(here.records()) == 1

    asyncio.run(scenario())


def test_one_callers_requests_are_not_everybodys_503(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend, max_running=4, max_waiting=8, callers=2) as here:
            crowd = [await here.start("crowd", caller="anna") for _ in range(4 + 4)]
            with pytest.raises(QueueFull, match="4 of your requests are waiting already"):
                await here.start("crowd", caller="anna")
            one = await here.start("alone", caller="bert", max_tokens=1)
            await settled()
            assert one.take()[-1][1].data == {"position": 1}, "her turn comes before more of anna's"
            backend.go()
            await asyncio.gather(*(rest_of(each) for each in [one, *crowd]))
            assert len(here.records()) == 9

    asyncio.run(scenario())


def test_where_memory_is_short_a_burst_of_one_caller_leaves_half_of_the_queue(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Narrow(allowed=1)
        options: dict[str, Any] = {"max_running": 32, "max_waiting": 8, "callers": 2}
        async with asyncio.timeout(60), house(tmp_path, backend, **options) as here:
            burst = await asyncio.gather(
                *(here.start(f"burst {each}", caller="anna", max_tokens=3) for each in range(60)),
                return_exceptions=True,
            )
            crowd = [each for each in burst if isinstance(each, Follower)]
            refused = [each for each in burst if not isinstance(each, Follower)]
            assert len(crowd) == 4 + 4, "as many as the memory holds, and half of the queue"
            assert {type(each) for each in refused} == {QueueFull}
            others = [await here.start("alone", caller="bert", max_tokens=1) for _ in range(4)]
            with pytest.raises(QueueFull, match="^8 requests are waiting already"):
                await here.start("one too many", caller="bert", max_tokens=1)
            backend.go()
            await asyncio.gather(*(rest_of(each) for each in [*crowd, *others]))
            assert len(here.records()) == 12

    asyncio.run(scenario())


def test_one_caller_alone_has_the_whole_queue(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(), max_running=4, max_waiting=8) as here:
            crowd = [await here.start("crowd", caller="anna") for _ in range(4 + 8)]
            with pytest.raises(QueueFull, match="^8 requests are waiting already"):
                await here.start("crowd", caller="anna")
            await settled()
            assert [each.generation.state for each in crowd].count(State.RUNNING) == 4

    asyncio.run(scenario())


def test_replays_that_wait_take_no_newcomers_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with (
            asyncio.timeout(60),
            house(tmp_path, backend, max_running=1, max_waiting=2) as here,
        ):
            await rest_of(await here.start("once"))
            record = here.vault.find(here.records()[0]["id"])[0]
            backend.allowed = 0
            running = await here.start("runs", max_tokens=9)

            async def replay() -> None:
                found = await here.generations.replay(record, here.visitor())
                assert found.verdict is Verdict.SAME

            replays = [asyncio.create_task(replay()) for _ in range(2)]
            while here.registry.statistics()["waiting"] < 2:
                await asyncio.sleep(0.001)
            newcomers = [await here.start(f"newcomer {number}") for number in range(2)]
            with pytest.raises(QueueFull):
                await here.start("one too many")
            with pytest.raises(QueueFull):
                await replay()
            backend.go()
            for each in [running, *newcomers]:
                await rest_of(each)
            await asyncio.gather(*replays)
            told = [each.get("replays") for each in here.records()[1:]]
            assert told == [None, None, None, 1, 1], "they come last of all"

    asyncio.run(scenario())


def test_no_replay_takes_the_place_of_one_that_nobody_hears(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with asyncio.timeout(60), house(tmp_path, backend, max_running=1) as here:
            await rest_of(await here.start("once"))
            record = here.vault.find(here.records()[0]["id"])[0]
            backend.allowed = 0
            await left_alone(here, 3)
            runs = backend.runs
            replay = asyncio.create_task(here.generations.replay(record, here.visitor()))
            while here.registry.statistics()["waiting"] < 3:
                await asyncio.sleep(0.001)
            await settled()
            assert backend.runs == runs, "whoever runs goes on, and is not begun again"
            backend.go()
            assert (await replay).verdict is Verdict.SAME
            assert backend.runs == runs + 3

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_is_kept_is_counted_by_what_it_really_takes(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int, int]:
        async with house(tmp_path, Wordy()) as here:
            gc.collect()
            tracemalloc.start()
            for number in range(20):
                prompt = f"{number} " + "x" * 100_000
                await rest_of(await here.start(prompt, max_tokens=150, top_logprobs=20))
            await settled()
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0]
            kept = list(here.registry.shelf)
            tracemalloc.stop()
            return taken, sum(each.size for each in kept), len(kept)

    taken, counted, kept = asyncio.run(scenario())
    assert 0 < kept < 20
    assert counted <= KEEP_BYTES
    assert 0.7 * counted < taken < 1.3 * counted
