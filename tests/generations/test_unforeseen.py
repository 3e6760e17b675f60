"""What nobody foresaw, raised in the middle of a generation: it ends, its neighbour does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from minivault.backends.base import Finish, Piece, Request
from minivault.background import Unforeseen
from minivault.generations.record import outcome_of
from tests.generations.backends import Reins
from tests.generations.house import house, names_of, rest_of, text_of


class Panic(BaseException):
    """As extensions raise it: no Exception."""


ENDS = [Panic("words"), SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()]


class Raising(Reins):
    """Raises after the first word of a prompt that says so, and counts such a one not at all."""

    error: BaseException

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        async for piece in super().generate(request):
            yield piece
            if request.prompt == "raise":
                raise self.error

    def count_tokens(self, prompt: str) -> int:
        if prompt == "never counted":
            raise self.error
        return super().count_tokens(prompt)


@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_whatever_a_backend_raises_ends_that_generation_alone(
    tmp_path: Path, error: BaseException
) -> None:
    async def scenario() -> None:
        backend = Raising()
        backend.error = error
        async with asyncio.timeout(60), house(tmp_path, backend) as here:
            neighbour, failing = await here.start("two words"), await here.start("raise")
            backend.go()
            failed, whole = await rest_of(failing), await rest_of(neighbour)
            assert names_of(failed)[-1] == "failed"
            assert failed[-1][1].data["error"]["message"].endswith(type(error).__name__)
            assert len(text_of(whole).split()) == 5
        assert {each["finish_reason"] for each in here.records()} == {"error", "length"}

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [*ENDS, StopIteration()], ids=repr)
def test_whatever_counting_a_prompt_raises_is_an_answer(
    tmp_path: Path, error: BaseException
) -> None:
    async def scenario() -> None:
        backend = Raising(allowed=9)
        backend.error = error
        async with asyncio.timeout(60), house(tmp_path, backend) as here:
            with pytest.raises(Unforeseen):
                await here.start("never counted")
            await rest_of(await here.start())

    asyncio.run(scenario())


def test_a_record_that_cannot_be_made_is_a_last_event_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CANARY".swapcase())

    async def scenario() -> None:
        async with asyncio.timeout(60), house(tmp_path, Reins(allowed=9)) as here:
            monkeypatch.setattr("minivault.generations.life.outcome_of", fail)
            events = await rest_of(await here.start())
            assert names_of(events)[-1] == "failed"
            monkeypatch.setattr("minivault.generations.life.outcome_of", outcome_of)
            assert names_of(await rest_of(await here.start()))[-1] == "done"

    asyncio.run(scenario())
    assert "a record could not be made" in caplog.text
    assert "canary" not in caplog.text


def test_a_journal_that_raises_what_nobody_foresaw_says_nothing_that_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async def scenario() -> None:
        backend = Reins()
        async with asyncio.timeout(60), house(tmp_path, backend) as here:
            follower = await here.start()
            monkeypatch.setattr(here.vault, "pieces", fail)
            backend.go()
            events = await rest_of(follower)
            assert names_of(events) == ["start", "failed"]
            assert events[-1][1].data["error"]["type"] == "log"

    asyncio.run(scenario())
