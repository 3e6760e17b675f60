"""What every backend keeps to. Run another one through it by adding it to BACKENDS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from minivault.backends.base import Backend, Finish, ModelInfo, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.schemas import FinishReason
from tests.backends.local_models import local, request, say
from tests.engine.small_models import STORYTELLER

Started = AbstractAsyncContextManager[Any]
PROMPT = "Once upon a time there was a little"


class Shout:
    """The smallest backend there is: text only."""

    info = ModelInfo(name="shout", context_length=1024)

    async def generate(self, request: Request) -> AsyncGenerator[str, None]:
        for word in request.prompt.split():
            await asyncio.sleep(0)
            yield word.upper() + " "


@asynccontextmanager
async def as_it_is(backend: Backend) -> AsyncIterator[Backend]:
    yield backend


BACKENDS: dict[str, Callable[[], Started]] = {
    "echo": lambda: as_it_is(EchoBackend()),
    "shout": lambda: as_it_is(Shout()),
    "local": lambda: local(STORYTELLER),
}


@pytest.fixture(params=list(BACKENDS))
def started(request: pytest.FixtureRequest) -> Callable[[], Started]:
    return BACKENDS[request.param]


def test_text_comes_and_then_at_most_one_finish(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            said = await say(backend, request(PROMPT))
            assert said.text
            if said.finish is not None:
                assert said.finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
                assert said.finish.completion_tokens in (None, said.tokens)

    asyncio.run(run())


def test_it_says_what_it_is(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            info = backend.info
            assert info.name
            assert info.context_length > 1
            if info.reproducible:
                assert info.sha256
                assert info.engine

    asyncio.run(run())


def test_closing_the_generator_stops_the_work(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            before = asyncio.all_tasks()
            items = backend.generate(request(PROMPT, max_tokens=400))
            await anext(items)
            await items.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)
            assert asyncio.all_tasks() == before
            await until_idle(backend)

    asyncio.run(run())


def test_cancelling_whoever_reads_stops_the_work(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            reader = asyncio.create_task(say(backend, request(PROMPT, max_tokens=400)))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await until_idle(backend)
            assert (await say(backend, request(PROMPT))).text

    asyncio.run(run())


def test_several_requests_at_once_each_get_their_own_text(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            prompts = [f"{PROMPT} {animal}" for animal in ("cat", "dog", "rabbit", "bear")]
            asked = [request(prompt, temperature=0.0) for prompt in prompts]
            alone = [(await say(backend, each)).text for each in asked]
            together = await asyncio.gather(*(say(backend, each) for each in asked))
            assert [said.text for said in together] == alone

    asyncio.run(run())


def test_a_reproducible_one_repeats_itself(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            asked = request(PROMPT, seed=11)
            first, again = await say(backend, asked), await say(backend, asked)
            if backend.info.reproducible:
                assert again == first

    asyncio.run(run())


def test_one_that_applies_the_limits_keeps_them(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            if not backend.info.applies_limits:
                return
            whole = await say(backend, request(PROMPT, max_tokens=12))
            assert whole.tokens <= 12
            stop = whole.text[len(whole.text) // 2 :][:3]
            stopped = await say(backend, request(PROMPT, max_tokens=12, stop=(stop,)))
            assert stopped.text == whole.text[: whole.text.index(stop)]
            assert stopped.finish == Finish(FinishReason.STOP, stopped.tokens)

    asyncio.run(run())


def test_an_error_surfaces_where_the_text_is_read(started: Callable[[], Started]) -> None:
    async def run() -> None:
        async with started() as backend:
            items = backend.generate(request(PROMPT))
            assert isinstance(await anext(items), str | Piece)
            with pytest.raises(ZeroDivisionError):
                await items.athrow(ZeroDivisionError())
            await until_idle(backend)

    asyncio.run(run())


async def until_idle(backend: Any) -> None:
    """Waits until nothing runs; where a backend tells what runs."""
    async with asyncio.timeout(60):
        while hasattr(backend, "statistics") and backend.statistics()["running"]:
            await asyncio.sleep(0.001)
