"""Echo backends with a fault or a delay, for `--backend tests.echoes:NAME` in a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.errors import ModelUnusable


class Slow(EchoBackend):
    """Fifty words a second."""

    def __init__(self) -> None:
        super().__init__(delay=0.02)


class SlowToStart(EchoBackend):
    """Takes a while to load."""

    async def start(self) -> None:
        await asyncio.sleep(1.5)


class Broken(EchoBackend):
    """Cannot be loaded."""

    async def start(self) -> None:
        raise ModelUnusable("the weights are of another shape")


class Stuck(EchoBackend):
    """Blocks the event loop, as no backend should, and cannot be ended."""

    async def start(self) -> None:
        asyncio.get_running_loop().call_later(0.2, self._block)

    def _block(self) -> None:
        while True:
            pass


class Failing(EchoBackend):
    """Raises after the first word, with the prompt in its message."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece("so far ")
        raise ValueError(f"cannot go on with {request.prompt}")
