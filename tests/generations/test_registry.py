"""Accepting, queueing, running, ending and keeping generations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish, Piece, Request
from minivault.errors import (
    Draining,
    InvalidRequest,
    KeyConflict,
    Loading,
    LogUnavailable,
    NotFound,
    QueueFull,
)
from minivault.generations.generation import Generation, State
from minivault.schemas import Client
from minivault.vault import Entry
from tests.generations.backends import Reins
from tests.generations.house import House, house, names_of, rest_of, settled, text_of, until


def test_the_begin_is_on_disk_before_the_start_event_and_the_record_before_the_last(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend) as here:
            follower = await here.start("find me")
            journals = [path.read_text() for path in tmp_path.glob("*.jsonl")]
            assert any("find me" in text for text in journals)
            backend.go()
            async for batch in follower.batches():
                if batch[-1][1].name == "done":
                    receipt = batch[-1][1].data["receipt"]
                    assert here.records()[receipt["seq"] - 1]["prompt"] == "find me"
            follower.close()

    asyncio.run(scenario())


def test_pieces_are_in_the_journal_before_a_follower_sees_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend) as here:
            follower = await here.start()
            backend.go(2)
            async for batch in follower.batches():
                journal = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
                assert all(event.text.strip() in journal for _, event in batch)
                if batch[-1][0] == 2:
                    break
            follower.close()

    asyncio.run(scenario())


def test_twenty_at_once_with_one_key_start_one_generation(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend) as here:
            followers = await asyncio.gather(*(here.start(key="my-key-1") for _ in range(20)))
            texts = {text_of(await rest_of(follower)) for follower in followers}
            assert (backend.runs, len(here.records()), len(texts)) == (1, 1, 1)
            late = await here.start(key="my-key-1", client=Client.JSON)
            assert text_of(await rest_of(late)) in texts
            assert backend.runs == 1

    asyncio.run(scenario())


def test_a_key_names_one_request_of_one_caller(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend) as here:
            await rest_of(await here.start(key="my-key-1"))
            with pytest.raises(KeyConflict):
                await here.start("another", key="my-key-1")
            await rest_of(await here.start("another", key="my-key-1", caller="someone else"))
            assert backend.runs == 2

    asyncio.run(scenario())


def test_a_key_of_a_refused_request_is_free_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=9)) as here:
            too_long = "word " * 1000
            with pytest.raises(InvalidRequest, match="1000 tokens"):
                await here.start(too_long, key="my-key-1")
            await rest_of(await here.start(key="my-key-1"))
            assert len(here.records()) == 1

    asyncio.run(scenario())


def test_max_tokens_is_cut_to_what_is_left_and_the_cut_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=9)) as here:
            events = await rest_of(await here.start("word " * 998, max_tokens=700))
            params = events[0][1].data["params"]
            assert (params["max_tokens"], params["max_tokens_requested"]) == (2, 700)
            assert events[-1][1].data["usage"]["completion_tokens"] == 2

    asyncio.run(scenario())


def test_without_a_listener_one_that_lives_on_ends_disconnected_after_its_grace(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=1)
        async with house(tmp_path, backend, grace=0.3) as here:
            follower = await here.start()
            await until(follower, 1)
            left_at = time.monotonic()
            follower.close()
            await here.registry.idle()
            assert (follower.generation.times.ended or 0) - left_at >= 0.3
            assert here.records()[0]["finish_reason"] == "disconnected"
            assert backend.live == 0

    asyncio.run(scenario())


async def left_alone(here: House) -> tuple[Generation, asyncio.TimerHandle]:
    """A text whose only reader has gone, and the clock that runs since."""
    follower = await here.start()
    await until(follower, 1)
    follower.close()
    return follower.generation, here.registry._timers[follower.generation]


def test_coming_back_within_the_grace_stops_the_clock(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=1)
        async with house(tmp_path, backend, grace=3600) as here:
            generation, clock = await left_alone(here)
            again = await here.registry.attach(generation, 1, lives_on=True)
            assert clock.cancelled()
            backend.go()
            assert names_of(await rest_of(again))[-1] == "done"

    asyncio.run(scenario())


def test_one_that_ends_within_its_grace_is_waited_for_no_longer(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=1)
        async with house(tmp_path, backend, grace=3600) as here:
            _, clock = await left_alone(here)
            backend.go()
            await here.registry.idle()
            assert clock.cancelled()
            assert here.registry._timers == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_one_that_does_not_live_on_ends_as_soon_as_its_client_goes(
    tmp_path: Path, state: str
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=1)
        async with house(tmp_path, backend, max_running=1) as here:
            other = await here.start() if state == "waiting" else None
            follower = await here.start(lives_on=False)
            assert follower.generation.state.value == state
            follower.close()
            await rest_of(await here.registry.attach(follower.generation, lives_on=False))
            assert here.records()[0]["finish_reason"] == "disconnected"
            if other:
                other.close()

    asyncio.run(scenario())


def test_a_client_that_goes_while_it_is_accepted_leaves_a_record(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend) as here:
            task = asyncio.ensure_future(here.start(lives_on=False))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await here.registry.idle()
            assert [record["finish_reason"] for record in here.records()] == ["disconnected"]
            assert backend.runs in (0, 1)
            assert backend.live == 0

    asyncio.run(scenario())


def test_places_in_the_queue_are_told_and_the_listened_to_come_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(reproducible=False)
        async with house(tmp_path, backend, max_running=1) as here:
            running = await here.start("a")
            left, second, third = [await here.start(prompt) for prompt in "bcd"]
            left.close()
            events = await until(third, 0)
            assert names_of(events) == ["start", "queued"]
            assert events[1][1].data == {"position": 2}
            backend.go()
            for follower in (running, second, third):
                await rest_of(follower)
            await here.registry.idle()
            assert [record["prompt"] for record in here.records()] == ["a", "c", "d", "b"]

    asyncio.run(scenario())


def test_the_queue_is_bounded_and_those_without_a_listener_do_not_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(reproducible=False)
        async with house(tmp_path, backend, max_running=1, max_waiting=2) as here:
            followers = [await here.start() for _ in range(3)]
            with pytest.raises(QueueFull):
                await here.start()
            followers[2].close()
            followers.append(await here.start())
            for follower in followers:
                follower.close()
        assert len(here.records()) == 4

    asyncio.run(scenario())


def test_many_that_connect_and_vanish_take_bounded_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(reproducible=False)
        async with house(tmp_path, backend, max_running=1, max_waiting=300) as here:
            blocker = await here.start()
            for each in await asyncio.gather(*(here.start() for _ in range(300))):
                each.close()
            await settled()
            assert here.registry.statistics()["waiting"] <= 256
            blocker.close()
        assert len(here.records()) == 301

    asyncio.run(scenario())


def test_one_without_a_listener_gives_its_place_away_and_comes_back_to_the_same_text(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend, max_running=1) as here:
            unheard = await here.start("left alone")
            seen = await until(unheard, 2)
            unheard.close()
            live = await here.start("wants a place")
            await until(live, 2)
            assert unheard.generation.state is State.WAITING
            backend.go()
            await rest_of(live)
            back = await here.registry.attach(unheard.generation, 2, lives_on=True)
            whole = text_of(seen) + text_of(await rest_of(back))
            records = {record["prompt"]: record for record in here.records()}
            assert records["left alone"]["response"] == whole
            assert records["left alone"]["usage"]["completion_tokens"] == 5
            assert records["left alone"]["finish_reason"] == "length"
            assert records["left alone"]["events"] == 7

    asyncio.run(scenario())


def test_one_that_is_made_again_goes_on_word_by_word(tmp_path: Path) -> None:
    """Slow enough that each new word is said before the next one is made."""

    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with asyncio.timeout(60), house(tmp_path, backend, max_running=1) as here:
            unheard = await here.start("left alone")
            await until(unheard, 2)
            unheard.close()
            live = await here.start("wants a place", max_tokens=2)
            await rest_of(live)
            back = await here.registry.attach(unheard.generation, 2, lives_on=True)
            for number in (3, 4, 5):
                backend.go(1)
                assert [n for n, _ in await until(back, number)] == [number]
            assert names_of(await rest_of(back)) == ["done"]
            assert len(here.records()[1]["response"].split()) == 5

    asyncio.run(scenario())


def test_one_that_is_made_again_and_differs_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend, max_running=1) as here:
            unheard = await here.start("left alone")
            await until(unheard, 2)
            unheard.close()
            live = await here.start("wants a place")
            await until(live, 2)
            backend.drift = 7
            backend.go()
            await rest_of(live)
            back = await here.registry.attach(unheard.generation, 2, lives_on=True)
            events = await rest_of(back)
            assert names_of(events) == ["failed"]
            assert events[0][1].data["error"]["type"] == "not_reproducible"

    asyncio.run(scenario())


def test_stop_ends_it_at_the_next_token_and_is_recorded_with_what_was_said(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend) as here:
            follower = await here.start()
            seen = await until(follower, 2)
            stopped = await here.generations.stop(follower.generation.id)
            assert stopped.finish_reason == "cancelled"
            assert backend.live == 0
            events = await rest_of(follower)
            assert names_of(events) == ["stopped"]
            assert here.records()[0]["response"] == text_of(seen)
            with pytest.raises(NotFound):
                await here.generations.stop("unknown")

    asyncio.run(scenario())


def test_stop_of_a_waiting_one_never_runs_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend, max_running=1) as here:
            running, waiting = await here.start(), await here.start()
            await settled()
            await here.generations.stop(waiting.generation.id)
            assert backend.runs == 1
            assert here.records()[0]["finish_reason"] == "cancelled"
            running.close()
            waiting.close()

    asyncio.run(scenario())


def test_a_backend_that_raises_gives_a_failed_event_and_a_record_without_its_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9, fail_at=2)
        async with house(tmp_path, backend) as here:
            events = await rest_of(await here.start("canary"))
            assert names_of(events) == ["start", "piece", "piece", "failed"]
            assert events[-1][1].data["error"]["type"] == "backend"
            record = here.records()[0]
            assert (record["finish_reason"], record["response"]) == ("error", text_of(events))
            assert "canary" not in str(events[-1][1].data)
            backend.fail_at = None
            assert names_of(await rest_of(await here.start()))[-1] == "done"

    asyncio.run(scenario())
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_while_loading_or_draining_nothing_new_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, None) as here:
            with pytest.raises(Loading):
                await here.start()
            here.registry.serve(Reins())
            here.registry.drain()
            with pytest.raises(Draining):
                await here.start()
        assert here.records() == []

    asyncio.run(scenario())


def test_interrupting_ends_everything_as_resumable_and_records_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=1)
        async with house(tmp_path, backend, max_running=1) as here:
            running, waiting = await here.start(), await here.start()
            await until(running, 1)
            await here.registry.interrupt()
            for follower in (running, waiting):
                _, last = (await rest_of(follower))[-1]
                assert (last.name, last.numbered) == ("stopped", False)
                assert last.data == {"finish_reason": "interrupted", "resumable": True}
            assert [r["finish_reason"] for r in here.records()] == ["interrupted"] * 2

    asyncio.run(scenario())


def test_ended_ones_are_kept_within_bounds_of_number_and_never_dropped_while_read(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=9), max_waiting=300) as here:
            read = await here.start()
            async for _ in read.batches():
                pass
            others = await asyncio.gather(*(here.start(max_tokens=1) for _ in range(300)))
            await asyncio.gather(*(rest_of(other) for other in others))
            assert here.registry.statistics()["kept"] <= 257
            assert here.registry.find(read.generation.id) is read.generation
            read.close()

    asyncio.run(scenario())


class FailingVault:
    """Stands before a real vault and fails where it is told to: a disk cannot be asked to."""

    def __init__(self, vault: Any) -> None:
        self.vault = vault
        self.broken: set[str] = set()

    def begin(self, begin: Any) -> Future[Entry]:
        return self._failed() if "begin" in self.broken else self.vault.begin(begin)  # type: ignore[no-any-return]

    def pieces(self, pieces: Any) -> None:
        if "pieces" in self.broken:
            raise LogUnavailable("no space left on device")
        self.vault.pieces(pieces)

    def commit(self, entry: Any, outcome: Any) -> Any:
        return self._failed() if "commit" in self.broken else self.vault.commit(entry, outcome)

    def _failed(self) -> Any:
        future: Future[Any] = Future()
        future.set_exception(LogUnavailable("no space left on device"))
        return future


@pytest.mark.parametrize("broken", ["pieces", "commit"])
def test_a_log_that_fails_while_it_runs_ends_the_text_as_failed(
    tmp_path: Path, broken: str
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend) as here:
            vault = FailingVault(here.vault)
            here.registry.speech.vault = vault  # type: ignore[assignment]
            here.vault = vault  # type: ignore[assignment]
            follower = await here.start()
            seen = await until(follower, 2)
            vault.broken.add(broken)
            backend.go()
            events = await rest_of(follower)
            assert names_of(events)[-1] == "failed"
            assert events[-1][1].data["error"]["type"] == "log"
            if broken == "pieces":
                assert names_of(events) == ["failed"]
                assert here.records()[0]["response"] == text_of(seen)
            here.vault = vault.vault

    asyncio.run(scenario())


class HoldingBack(Reins):
    """Says half a stop string, which is said at last if the text ends there."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece("The ")
        yield Piece("en")
        async for _ in super().generate(request):
            break


def test_what_was_held_back_and_cannot_be_journaled_is_not_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = HoldingBack()
        async with house(tmp_path, backend) as here:
            vault = FailingVault(here.vault)
            here.registry.speech.vault = vault  # type: ignore[assignment]
            follower = await here.start(stop=["end"])
            await until(follower, 1)
            vault.broken.add("pieces")
            backend.go()
            [(_, last)] = await rest_of(follower)
            assert (last.name, last.data["error"]["type"]) == ("failed", "log")
            [record] = here.records()
            assert (record["finish_reason"], record["response"]) == ("error", "The ")

    asyncio.run(scenario())


def test_a_begin_that_cannot_be_written_generates_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend) as here:
            vault = FailingVault(here.vault)
            vault.broken.add("begin")
            here.vault = vault  # type: ignore[assignment]
            with pytest.raises(LogUnavailable):
                await here.start(key="my-key-1")
            assert backend.runs == 0
            here.vault = vault.vault
            await rest_of(await here.start(key="my-key-1"))

    asyncio.run(scenario())


def test_fifty_at_once_are_all_served_and_recorded_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend, max_running=8, max_waiting=50) as here:
            followers = await asyncio.gather(*(here.start(f"p{n}") for n in range(50)))
            texts = [text_of(await rest_of(follower)) for follower in followers]
            records = {record["prompt"]: record["response"] for record in here.records()}
            assert records == {f"p{n}": text for n, text in enumerate(texts)}
            assert [record["seq"] for record in here.records()] == list(range(1, 51))

    asyncio.run(scenario())
