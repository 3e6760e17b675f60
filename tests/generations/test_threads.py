"""Whose threads a generation works in: nobody else's work keeps it waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minivault.generations import Nothing
from tests.generations.backends import Reins, Wordy
from tests.generations.house import house, names_of, rest_of

LONG = "word " * 4000


@asynccontextmanager
async def no_thread_left() -> AsyncIterator[None]:
    """The event loop's own pool has one thread, and that one is stuck."""
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    stuck = loop.run_in_executor(None, over.wait)
    try:
        yield
    finally:
        over.set()
        await stuck


def test_what_the_event_loops_pool_does_keeps_no_generation_waiting(tmp_path: Path) -> None:
    """Not its prompt, nor its commit, nor the look into the log for one that comes back."""

    async def scenario() -> None:
        async with asyncio.timeout(60), house(tmp_path, Wordy()) as here, no_thread_left():
            first = await here.start(top_logprobs=3)
            assert names_of(await rest_of(first))[-1] == "done"
        backend = Reins(allowed=9)
        async with asyncio.timeout(60), house(tmp_path, backend) as here, no_thread_left():
            long = await here.start("word " * 900, max_tokens=1)
            assert names_of(await rest_of(long))[-1] == "done"
        async with asyncio.timeout(60), house(tmp_path, backend) as here, no_thread_left():
            id, visitor = long.generation.id, here.visitor()
            assert await here.generations.come_back(id, 9, None, visitor) == Nothing()

    asyncio.run(scenario())


@dataclass
class Slow(Reins):
    """Counts the tokens of long prompts for as long as `over` is not set."""

    counted: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def count_tokens(self, prompt: str) -> int:
        self.counted.append(prompt[:5])
        if len(prompt) > 100:
            self.over.wait(60)
        return len(prompt.split()) % 900


def test_long_prompts_keep_no_short_one_waiting_and_end_with_their_askers(tmp_path: Path) -> None:
    async def scenario() -> None:
        backend = Slow(allowed=9)
        async with asyncio.timeout(60), house(tmp_path, backend, max_running=8) as here:
            long = [asyncio.create_task(here.start(f"{n:04} {LONG}")) for n in range(4)]
            gone = asyncio.create_task(here.start(f"gone {LONG}", lives_on=False))
            while len(backend.counted) < 2:
                await asyncio.sleep(0.001)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert names_of(await rest_of(await here.start("short")))[-1] == "done"
            backend.over.set()
            for each in long:
                assert names_of(await rest_of(await each))[-1] == "done"
            await here.registry.idle()
            assert sorted(backend.counted) == ["0000 ", "0001 ", "0002 ", "0003 ", "short"]
            assert len(here.records()) == 5

    asyncio.run(scenario())
