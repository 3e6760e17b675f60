"""The table of contract section 4.4, line by line."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import Draining, KeyConflict, Loading, QueueFull
from minivault.generations import Event, Gone, Nothing, Resumed
from minivault.parsing import parse_parameters
from minivault.schemas import FinishReason
from tests.generations.backends import Reins
from tests.generations.house import House, house, names_of, rest_of, settled, text_of, until

ASKED = {"prompt": "one two", "max_tokens": 5}


async def come_back(here: House, id: str, after: int, *, asked: Any = ASKED) -> Any:
    request = parse_parameters(asked) if asked else None
    return await here.generations.come_back(id, after, request, here.visitor())


async def rest(answer: Any) -> list[tuple[int, Event]]:
    assert isinstance(answer, Resumed), answer
    return await rest_of(answer.follower)


async def ended_as(here: House, backend: Reins, reason: str) -> str:
    """A generation of two pieces (five if it ended by itself) that ended so; its id."""
    follower = await here.start()
    id = follower.generation.id
    backend.go(5 if reason == "length" else 2)
    if reason == "length":
        await rest_of(follower)
        return id
    await until(follower, 2)
    if reason == "cancelled":
        await here.generations.stop(id)
    elif reason == "error":
        backend.fail_at = 2
        backend.go(1)
        await rest_of(follower)
        backend.fail_at = None
    follower.close()
    if reason == "disconnected":
        await here.registry.idle()
    return id


def test_a_running_one_goes_on_after_the_last_event_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend) as here:
            first = await here.start()
            backend.go(3)
            await until(first, 3)
            answer = await come_back(here, first.generation.id, 1)
            backend.go()
            again, whole = await asyncio.gather(rest(answer), rest_of(first))
            assert [number for number, _ in again] == [2, 3, 4, 5, 6]
            assert again[-3:] == whole[-3:]
            assert backend.runs == 1
            assert len(here.records()) == 1

    asyncio.run(scenario())


def test_a_waiting_one_is_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend, max_running=1) as here:
            running = await here.start()
            waiting = await here.start()
            answer = await come_back(here, waiting.generation.id, 0)
            backend.go()
            events = await rest(answer)
            assert names_of(events)[-1] == "done"
            assert [n for n, event in events if event.numbered] == [1, 2, 3, 4, 5, 6]
            running.close()
            waiting.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "reason,after,expected",
    [
        ("length", 3, "rest"),
        ("length", 6, "nothing"),
        ("length", 99, "nothing"),
        ("cancelled", 1, "rest"),
        ("cancelled", 3, "nothing"),
        ("error", 1, "rest"),
        ("error", 3, "nothing"),
        ("disconnected", 1, "continued"),
        ("disconnected", 2, "continued"),
    ],
)
def test_a_kept_one_gives_the_rest_or_nothing_or_goes_on(
    tmp_path: Path, reason: str, after: int, expected: str
) -> None:
    async def scenario() -> None:
        backend = Reins()
        async with house(tmp_path, backend, grace=0.0) as here:
            id = await ended_as(here, backend, reason)
            backend.go()
            runs, records = backend.runs, len(here.records())
            answer = await come_back(here, id, after)
            if expected == "nothing":
                assert isinstance(answer, Nothing)
                return
            events = await rest(answer)
            assert events[0][0] == after + 1
            ends = {"length": "done", "cancelled": "stopped", "error": "failed"}
            assert names_of(events)[-1] == ends.get(reason, "done")
            more = 1 if expected == "continued" else 0
            assert (backend.runs - runs, len(here.records()) - records) == (more, more)

    asyncio.run(scenario())


async def _life_then(
    folder: Path, reason: str, then: Callable[[House, Reins, str, str], Awaitable[None]]
) -> None:
    """A generation ends so in one life of the server; the rest happens in the next one."""
    backend = Reins()
    async with house(folder, backend, grace=0.0 if reason == "disconnected" else 10.0) as here:
        id = await ended_as(here, backend, reason)
    backend = Reins(allowed=1_000_000)
    async with house(folder, backend) as here:
        whole = here.records()[0]["response"]
        await then(here, backend, id, whole)


@pytest.mark.parametrize(
    "reason,after,expected",
    [
        ("length", 6, "nothing"),
        ("length", 3, "continued"),
        ("interrupted", 2, "continued"),
        ("interrupted", 0, "continued"),
        ("interrupted", 3, "nothing"),
        ("disconnected", 1, "continued"),
        ("cancelled", 1, "gone"),
        ("cancelled", 3, "nothing"),
        ("error", 1, "gone"),
    ],
)
@pytest.mark.parametrize("with_request", [True, False])
def test_one_known_from_our_log_only(
    tmp_path: Path, reason: str, after: int, expected: str, with_request: bool
) -> None:
    async def then(here: House, backend: Reins, id: str, said: str) -> None:
        answer = await come_back(here, id, after, asked=ASKED if with_request else None)
        if expected == "continued":
            events = await rest(answer)
            assert [number for number, _ in events] == list(range(after + 1, 7))
            assert here.records()[-1]["continues"] == id
            assert here.records()[-1]["id"] == id
            assert here.records()[-1]["response"].startswith(said)
            assert here.records()[-1]["response"].endswith(text_of(events))
        else:
            assert isinstance(answer, Nothing if expected == "nothing" else Gone)
            assert backend.runs == 0

    asyncio.run(_life_then(tmp_path, reason, then))


def test_one_of_a_server_that_was_killed_tells_how_long_its_prompt_is(tmp_path: Path) -> None:
    """Its record does not: it was made of what had been said."""

    async def scenario() -> None:
        folder, left = tmp_path / "logs", tmp_path / "left"
        backend = Reins()
        async with house(folder, backend) as here:
            follower = await here.start()
            backend.go(2)
            await until(follower, 2)
            shutil.copytree(folder, left)  # as a kill would leave it now
            follower.close()
        backend = Reins(allowed=1_000_000)
        async with house(left, backend) as here:
            assert here.records()[0]["usage"]["prompt_tokens"] is None
            answer = await come_back(here, follower.generation.id, 1)
            events = await rest(answer)
            assert events[-1][1].data["usage"]["prompt_tokens"] == 2
            assert here.records()[-1]["usage"]["prompt_tokens"] == 2

    asyncio.run(scenario())


def test_one_unknown_here_goes_on_if_the_request_is_in_the_url(tmp_path: Path) -> None:
    """Another server with the same secret takes over; it shares nothing else."""

    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path / "one", backend) as one:
            follower = await one.start()
            seen = await until(follower, 2)
            follower.close()
        second = house(tmp_path / "two", Reins(allowed=9), secret=tmp_path / "one" / "secret")
        async with second as two:
            assert isinstance(await come_back(two, follower.generation.id, 2, asked=None), Gone)
            events = await rest(await come_back(two, follower.generation.id, 2))
            assert text_of(seen) + text_of(events) == two.records()[0]["response"]

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["model", "defaults", "secret", "reproducible"])
def test_another_model_or_secret_or_a_backend_that_cannot_repeat_is_gone(
    tmp_path: Path, change: str
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            await until(follower, 2)
            follower.close()
        backend = Reins(
            allowed=9,
            reproducible=change != "reproducible",
            sha256=("b" if change == "model" else "a") * 64,
            defaults={"temperature": 0.2} if change == "defaults" else {},
        )
        secret = tmp_path / "other" if change == "secret" else None
        async with house(tmp_path, backend, secret=secret) as here:
            assert isinstance(await come_back(here, follower.generation.id, 2), Gone)
            assert backend.runs == 0

    asyncio.run(scenario())


def test_an_unreadable_or_forged_id_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            id = follower.generation.id
            forged = id[:-1] + ("A" if id[-1] != "A" else "B")
            for bad in ("", "x" * 64, forged, id[:-1]):
                assert isinstance(await come_back(here, bad, 0), Gone)
            follower.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "other", [{"prompt": "one three"}, {"max_tokens": 6}, {"seed": 1}, {"stop": ["x"]}]
)
def test_another_request_under_the_id_is_refused_in_every_state(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=9)
        async with house(tmp_path, backend) as here:
            follower = await here.start()
            with pytest.raises(KeyConflict):
                await come_back(here, follower.generation.id, 0, asked=ASKED | other)
            await rest_of(follower)
        async with house(tmp_path, backend) as here:
            with pytest.raises(KeyConflict):
                await come_back(here, follower.generation.id, 0, asked=ASKED | other)

    asyncio.run(scenario())


def test_it_is_continued_three_times_and_then_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            await until(follower, 2)
            id = follower.generation.id
            follower.close()
        for _ in range(3):
            async with house(tmp_path, Reins(allowed=3)) as here:
                answer = await come_back(here, id, 2)
                assert isinstance(answer, Resumed)
                await until(answer.follower, 3)
                answer.follower.close()
        async with house(tmp_path, Reins(allowed=9)) as here:
            assert isinstance(await come_back(here, id, 3), Gone)
            assert len(here.records()) == 4

    asyncio.run(scenario())


def test_a_continuation_that_says_something_else_is_gone_and_nothing_of_it_is_sent(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            await until(follower, 2)
            follower.close()
        async with house(tmp_path, Reins(allowed=9, drift=1)) as here:
            events = await rest(await come_back(here, follower.generation.id, 0))
            assert names_of(events) == ["gone"]
        assert here.records()[-1]["error"]["type"] == "not_reproducible"

    asyncio.run(scenario())


def test_nothing_is_sent_before_all_that_the_log_holds_is_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=3)) as here:
            follower = await here.start()
            await until(follower, 3)
            follower.close()
        backend = Reins(allowed=2)
        async with house(tmp_path, backend) as here:
            answer = await come_back(here, follower.generation.id, 0)
            assert isinstance(answer, Resumed)
            waiting = asyncio.ensure_future(until(answer.follower, 1))
            while len(answer.follower.generation.events) < 3:
                await asyncio.sleep(0.001)
            await settled()
            assert not waiting.done()
            backend.go(1)
            assert [number for number, _ in await waiting] == [1, 2, 3]
            answer.follower.close()

    asyncio.run(scenario())


def test_many_that_come_back_at_once_share_one_continuation(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            await until(follower, 2)
            follower.close()
        backend = Reins(allowed=9)
        async with house(tmp_path, backend) as here:
            id = follower.generation.id
            answers = await asyncio.gather(*(come_back(here, id, n % 3) for n in range(9)))
            texts = [text_of(await rest(answer)) for answer in answers]
            assert backend.runs == 1
            assert texts[0].endswith(texts[2])
            assert len(here.records()) == 2

    asyncio.run(scenario())


def test_who_comes_back_while_loading_draining_or_full_has_to_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, Reins(allowed=2)) as here:
            follower = await here.start()
            await until(follower, 2)
            id = follower.generation.id
            follower.close()
        async with house(tmp_path, None) as here:
            with pytest.raises(Loading):
                await come_back(here, id, 2)
        async with house(tmp_path, Reins(), max_running=1, max_waiting=0) as here:
            running = await here.start()
            with pytest.raises(QueueFull):
                await come_back(here, id, 2)
            here.registry.drain()
            with pytest.raises(Draining):
                await come_back(here, id, 2)
            running.close()

    asyncio.run(scenario())


def test_many_that_come_back_while_it_is_being_left_share_one_continuation(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with asyncio.timeout(60), house(tmp_path, backend) as here:
            follower = await here.start()
            await until(follower, 2)
            follower.close()
            here.registry.places.end(follower.generation, FinishReason.DISCONNECTED)
            id = follower.generation.id
            answers = await asyncio.gather(*(come_back(here, id, 2) for _ in range(3)))
            backend.go()
            assert len({text_of(await rest(answer)) for answer in answers}) == 1
            assert backend.runs == 2
            assert len(here.records()) == 2

    asyncio.run(scenario())


def test_one_that_is_just_being_left_is_continued_too(tmp_path: Path) -> None:
    """Its grace is over and its record is being written when the client comes back."""

    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend) as here:
            follower = await here.start()
            await until(follower, 2)
            here.registry.places.end(follower.generation, FinishReason.DISCONNECTED)
            answer = await come_back(here, follower.generation.id, 2)
            backend.go()
            assert [number for number, _ in await rest(answer)] == [3, 4, 5, 6]
            follower.close()

    asyncio.run(scenario())


def test_the_same_key_goes_on_with_one_that_was_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(allowed=2)
        async with house(tmp_path, backend, grace=0.0) as here:
            left = await here.start(key="my-key-1")
            await until(left, 2)
            left.close()
            await here.registry.idle()
            backend.go()
            asked = parse_parameters(ASKED | {"key": "my-key-1"})
            again = await here.generations.start(asked, here.visitor())
            assert names_of(await rest_of(again)) == ["start", *["piece"] * 5, "done"]
            assert [r["finish_reason"] for r in here.records()] == ["disconnected", "length"]

    asyncio.run(scenario())


def test_one_that_was_left_is_gone_if_the_backend_cannot_repeat_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Reins(reproducible=False)
        async with house(tmp_path, backend, grace=0.0) as here:
            id = await ended_as(here, backend, "disconnected")
            backend.go()
            assert isinstance(await come_back(here, id, 1), Gone)
            assert backend.runs == 1

    asyncio.run(scenario())
