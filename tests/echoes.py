"""Echo backends with a fault or a delay, for `--backend tests.echoes:NAME` in a real server."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.errors import ModelUnusable
from minivault.web import sse


async def halting(
    items: AsyncGenerator[Piece | Finish, None], after: int
) -> AsyncGenerator[Piece | Finish, None]:
    """So many items, and the others once there is a file `go` in the working directory."""
    said = 0
    async with aclosing(items):
        async for item in items:
            while said == after and not Path("go").exists():
                await asyncio.sleep(0.02)
            said += 1
            yield item


def recall_soon() -> None:
    """Has who was cut off come back after a twentieth of a second; in a process of its own."""
    sse._RETRY = b"retry: 50\n\n"


class Slow(EchoBackend):
    """Fifty words a second."""

    def __init__(self) -> None:
        super().__init__(delay=0.02)


class Recalling(EchoBackend):
    """Has who was cut off come back soon."""

    def __init__(self) -> None:
        super().__init__()
        recall_soon()


class Halting(Recalling):
    """Says ten words, and the others once there is a file `go` in the working directory."""

    def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        return halting(super().generate(request), after=10)


class Enduring(EchoBackend):
    """Gives up no reader who takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        sse.SEND_TIMEOUT = 3600


class Loading(Recalling):
    """Loads until there is a file `loaded` in the working directory."""

    async def start(self) -> None:
        while not Path("loaded").exists():
            await asyncio.sleep(0.02)


class Broken(EchoBackend):
    """Cannot be loaded."""

    async def start(self) -> None:
        raise ModelUnusable("the weights are of another shape")


class Stuck(EchoBackend):
    """Blocks the event loop, as no backend should, from the first prompt on."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        Path("blocked").touch()
        while True:
            pass
        yield Piece("never")


class Clinging(EchoBackend):
    """Takes for ever to be unloaded, once all is said."""

    async def start(self) -> None:
        atexit.register(time.sleep, 600)


class Silent(EchoBackend):
    """Ends before it has said anything."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Finish()


class Failing(EchoBackend):
    """Raises after the first word, with the prompt in its message."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece("so far ")
        raise ValueError(f"cannot go on with {request.prompt}")


class Deadly(Recalling):
    """Takes the whole process with it after a few words."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        for word in ("so", " far", " so", " good"):
            yield Piece(word)
            await asyncio.sleep(0.05)
        os._exit(9)


class Fickle(Recalling):
    """Makes no promise to say the same again, and comes to no end."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, reproducible=False)

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        for word in ("so", " far", " so", " good", " and"):
            yield Piece(word)
        await asyncio.Event().wait()


class Panicking(EchoBackend):
    """Raises on the way to its start what is no Exception, as extensions do."""

    async def start(self) -> None:
        raise Panic("the core is lost")


class Panic(BaseException):
    """What extensions raise."""
