"""A registry with a real vault, without HTTP; and what tests ask of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from minivault.backends.base import Backend
from minivault.generations import (
    Audit,
    Event,
    Follower,
    GenerationIds,
    Generations,
    Registry,
    Visitor,
)
from minivault.parsing import parse_parameters
from minivault.schemas import Client
from minivault.vault import Vault, load_secret


class House:
    """One life of a server: a registry and its vault."""

    def __init__(self, registry: Registry, vault: Vault, folder: Path) -> None:
        self.registry = registry
        self.generations = Generations(registry)
        self.vault = vault
        self.folder = folder

    def visitor(
        self, client: Client = Client.SSE, caller: str = "", *, lives_on: bool = True
    ) -> Visitor:
        return Visitor(client, Audit(self.vault), caller, lives_on)

    async def start(
        self,
        prompt: str = "one two",
        *,
        client: Client = Client.SSE,
        lives_on: bool = True,
        caller: str = "",
        **fields: Any,
    ) -> Follower:
        asked = parse_parameters({"prompt": prompt, "max_tokens": 5} | fields)
        visitor = self.visitor(client, caller, lives_on=lives_on)
        return await self.generations.start(asked, visitor)

    def records(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log.jsonl").read_text(encoding="ascii").splitlines()
        return [json.loads(line) for line in lines]


@asynccontextmanager
async def house(
    folder: Path, backend: Backend | None, *, secret: Path | None = None, **options: Any
) -> AsyncIterator[House]:
    """A registry for as long as the block lasts; then everything open is interrupted."""
    key = load_secret(secret or folder / "secret")
    vault = Vault(folder, secret=key)
    vault.open()
    registry = Registry(vault, GenerationIds(key), **options)
    if backend:
        registry.serve(backend)
    try:
        yield House(registry, vault, folder)
    finally:
        await registry.interrupt()
        await asyncio.to_thread(vault.close)


async def rest_of(follower: Follower) -> list[tuple[int, Event]]:
    """All events to the last one; closes the follower."""
    try:
        return [pair async for batch in follower.batches() for pair in batch]
    finally:
        follower.close()


async def until(follower: Follower, number: int) -> list[tuple[int, Event]]:
    """Events up to this number; the follower stays open."""
    found: list[tuple[int, Event]] = []
    async for batch in follower.batches():
        found += batch
        if any(each >= number for each, _ in found):
            break
    return found


async def settled() -> None:
    """Lets everything that can run now run."""
    for _ in range(20):
        await asyncio.sleep(0)


def text_of(events: list[tuple[int, Event]]) -> str:
    return "".join(event.text for _, event in events)


def names_of(events: list[tuple[int, Event]]) -> list[str]:
    return [event.name or "piece" for _, event in events]
