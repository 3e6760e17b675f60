"""The storyteller, held on to: for `--backend tests.stories:Halting` in a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.local import LocalBackend
from minivault.model_store.model import read_model
from minivault.resources import resource
from minivault.settings import Settings
from minivault.web import sse

HALT = 40
"""Pieces of a text after which it waits."""


class Halting(LocalBackend):
    """Says forty pieces of a text, and the others once there is a file `go` where it runs."""

    def __init__(self, **options: Any) -> None:
        settings = Settings(**{"threads": 1} | options)
        super().__init__(settings, read_model("storyteller", resource("models/storyteller")))

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        said = 0
        async for item in super().generate(request):
            while said == HALT and not Path("go").exists():
                await asyncio.sleep(0.02)
            said += 1
            yield item


class Recalling(Halting):
    """Has who was cut off come back after a twentieth of a second; in a process of its own."""

    def __init__(self) -> None:
        super().__init__()
        sse._RETRY = b"retry: 50\n\n"
