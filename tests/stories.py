"""The storyteller, held on to: for `--backend tests.stories:Halting` in a real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.local import LocalBackend
from minivault.model_store.model import read_model
from minivault.resources import resource
from minivault.settings import Settings
from tests.echoes import halting, recall_soon

HALT = 40
"""Pieces of a text after which it waits."""


class Halting(LocalBackend):
    """Says forty pieces of a text, and the others once there is a file `go` where it runs."""

    def __init__(self, **options: Any) -> None:
        settings = Settings(**{"threads": 1} | options)
        super().__init__(settings, read_model("storyteller", resource("models/storyteller")))

    def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        return halting(super().generate(request), after=HALT)


class Recalling(Halting):
    """Has who was cut off come back soon."""

    def __init__(self) -> None:
        super().__init__()
        recall_soon()
