"""Backends that a test holds the reins of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from minivault.backends.base import Finish, Logprobs, ModelInfo, Piece, Request, TokenLogprob
from minivault.schemas import FinishReason


@dataclass
class Reins:
    """Says a word per permission: `go(n)` gives n of them to every run, now and later.

    The words are drawn with the request's seed, so a run can be told from another. `runs` counts
    how often it was asked, `live` how many runs are open.
    """

    reproducible: bool = True
    allowed: int = 0
    runs: int = 0
    live: int = 0
    fail_at: int | None = None
    drift: int = 0
    sha256: str = "a" * 64
    defaults: dict[str, float] = field(default_factory=dict)
    _changed: set[asyncio.Event] = field(default_factory=set)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name="reins",
            context_length=1000,
            reproducible=self.reproducible,
            sha256=self.sha256,
            defaults=self.defaults,
        )

    def count_tokens(self, prompt: str) -> int:
        return len(prompt.split())

    def go(self, words: int = 1_000_000) -> None:
        self.allowed += words
        for event in self._changed:
            event.set()

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        self.runs += 1
        self.live += 1
        words = random.Random(request.seed + self.drift)
        try:
            for step in range(request.max_tokens):
                await self._permission(step)
                if step == self.fail_at:
                    raise ValueError(f"secret: {request.prompt}")
                yield Piece(f" {words.randrange(10**6)}")
            yield Finish(FinishReason.LENGTH)
        finally:
            self.live -= 1

    async def _permission(self, step: int) -> None:
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            while step >= self.allowed:
                await changed.wait()
                changed.clear()
        finally:
            self._changed.discard(changed)


class Wordy:
    """Reports twenty alternatives with each of its tokens."""

    info = ModelInfo(name="wordy", context_length=10_000)

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        for step in range(request.max_tokens):
            await asyncio.sleep(0)
            top = tuple(TokenLogprob(f" w{step}-{n}", -float(n)) for n in range(20))
            yield Piece(f" w{step}", logprobs=(Logprobs(top[0], top),))
        yield Finish(FinishReason.LENGTH)
