"""A local backend, started and closed, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.backends.base import Backend, Finish, Piece, Request
from minivault.backends.local import LocalBackend
from minivault.model_store.model import read_model
from minivault.schemas import EffectiveParameters
from minivault.settings import Settings

GREEDY: dict[str, Any] = {"temperature": 0.0, "repetition_penalty": 1.0}


@asynccontextmanager
async def local(folder: Path, **options: Any) -> AsyncIterator[LocalBackend]:
    """Serves a model folder, in float32 and with one thread unless told otherwise."""
    values: dict[str, Any] = {
        "_env_file": None,
        "dtype": "float32",
        "threads": 1,
        "prefix_memory": 0,
    } | options
    settings = Settings(**values)
    backend = LocalBackend(settings, read_model(folder.name, folder))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


def request(prompt: str, *, seed: int = 7, **params: Any) -> Request:
    """The parameters' defaults are those of the schema, with 24 tokens."""
    chosen: dict[str, Any] = {
        "max_tokens": 24,
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.95,
        "repetition_penalty": 1.1,
    } | params
    return Request(
        prompt, EffectiveParameters(max_tokens_requested=chosen["max_tokens"], **chosen), seed
    )


@dataclass(frozen=True, slots=True)
class Said:
    """All that a backend said to one request."""

    pieces: list[Piece]
    finish: Finish | None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> int:
        return sum(piece.tokens for piece in self.pieces)


async def say(backend: Backend, asked: Request) -> Said:
    pieces: list[Piece] = []
    finish = None
    async with aclosing(backend.generate(asked)) as items:
        async for item in items:
            assert finish is None, "nothing comes after a Finish"
            if isinstance(item, Finish):
                finish = item
            else:
                pieces.append(Piece(item) if isinstance(item, str) else item)
    return Said(pieces, finish)
