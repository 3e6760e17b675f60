"""A backend whose texts are as quick as their prompt says, for measuring many streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.schemas import FinishReason

#: Words of the prompt: a token now and then, none before `GO` was asked for, or all at once.
ACTIVE, IDLE, GO = "active", "idle", "go"
PACE = 0.1  # seconds between two tokens of an active text


class Patient:
    """Token n of a text is its seed plus n: whoever reads it can tell what is missing."""

    info = ModelInfo(name="patient", context_length=100_000, reproducible=True, sha256="0" * 64)

    async def start(self) -> None:
        self._go = asyncio.Event()

    def count_tokens(self, prompt: str) -> int:
        return 1

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        if request.prompt == GO:
            self._go.set()
        if request.prompt == IDLE:
            await self._go.wait()
        for piece in pieces(request.seed, request.max_tokens):
            if request.prompt == ACTIVE:
                await asyncio.sleep(PACE)
            yield Piece(piece)
        yield Finish(FinishReason.LENGTH)


def pieces(seed: int, count: int) -> list[str]:
    """What the backend says."""
    return [f" {seed + n}" for n in range(count)]
