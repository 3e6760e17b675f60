"""Echo backends that do what files in the folder FLEET tell them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from minivault.backends.echo import EchoBackend

FLEET = "FLEET"


class Frail(EchoBackend):
    """Loads until there is a file `loaded`, and does not work while there is a file `sick`."""

    async def start(self) -> None:
        while not _there("loaded"):
            await asyncio.sleep(0.05)

    def problem(self) -> str | None:
        return "the card fell out" if _there("sick") else None


def _there(name: str) -> bool:
    return (Path(os.environ[FLEET]) / name).exists()
