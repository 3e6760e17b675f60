"""Backends that say what a test wants to see on the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.schemas import FinishReason, Message


class Says:
    """Says these pieces, whatever is asked, with a pause between two."""

    def __init__(self, pieces: Sequence[str], *, delay: float = 0.0) -> None:
        self.info = ModelInfo(
            name="says", context_length=100_000, reproducible=True, sha256="1" * 64
        )
        self.pieces = list(pieces)
        self.delay = delay

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        for piece in self.pieces:
            await asyncio.sleep(self.delay)
            yield Piece(piece)
        yield Finish(FinishReason.STOP)


class Forgetful(EchoBackend):
    """Promises the same bytes and says something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        self.times += 1
        yield Piece(f"the fox was seen {self.times} times in the wood")
        yield Finish(FinishReason.STOP)


class Recommends(EchoBackend):
    """An echo whose makers say how to draw from it."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, defaults={"temperature": 0.2, "top_p": 0.9, "min_p": 0.05})


class Chatty(EchoBackend):
    """An echo with a chat template."""

    def __init__(self, *, delay: float = 0.0, context_length: int = 4096) -> None:
        super().__init__(delay=delay, context_length=context_length)
        self.info = replace(self.info, name="chatty", chat=True, sha256="2" * 64)

    def render(self, messages: list[dict[str, str]]) -> str:
        checked = [Message.model_validate(each) for each in messages]
        *closed, last = checked
        turns = "".join(f"<{each.role}> {each.content} </{each.role}> " for each in closed)
        if last.role == "assistant":
            return f"{turns}<assistant> {last.content}"
        return f"{turns}<{last.role}> {last.content} </{last.role}> <assistant>"


class Tells(Chatty):
    """Answers the last question as it was told to, in these pieces.

    After a third of them it waits for as long as somebody has set `halts`.
    """

    def __init__(self, answers: Mapping[str, Sequence[str]], *, delay: float = 0.0) -> None:
        super().__init__()
        self.answers = answers
        self.delay = delay
        self.halts = threading.Event()

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        asked = max(self.answers, key=lambda each: request.prompt.rfind(f"<user> {each} </user>"))
        pieces = self.answers[asked]
        for number, piece in enumerate(pieces):
            await asyncio.sleep(self.delay)
            while self.halts.is_set() and number > len(pieces) // 3:
                await asyncio.sleep(0.01)
            yield Piece(piece)
        yield Finish(FinishReason.STOP)


class LateChatty(Chatty):
    """Chats once somebody sets `loaded`."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = threading.Event()

    async def start(self) -> None:
        while not self.loaded.is_set():
            await asyncio.sleep(0.01)


class Fails(EchoBackend):
    """Says a little, then raises."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece("so far so good")
        raise RuntimeError("a wire is loose")
