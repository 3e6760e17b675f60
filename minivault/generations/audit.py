"""The handle by which one request reaches the vault: every begin has its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from minivault.background import Pool
from minivault.schemas import Receipt
from minivault.vault import Begin, Entry, Outcome, Vault

THREADS = Pool("vault", 4)


@dataclass(eq=False, slots=True)
class Audit:
    """Begins and commits the records of one request. Event loop only."""

    vault: Vault
    open: set[Entry] = field(default_factory=set)  # begun and not committed

    async def begin(self, begin: Begin) -> Entry:
        """Returns when the begin is on disk. Raises LogUnavailable: then nothing may be made."""
        entry = await asyncio.wrap_future(self.vault.begin(begin))
        self.open.add(entry)
        return entry

    async def commit(self, entry: Entry, outcome: Outcome) -> Receipt:
        """Returns when the record is on disk. Raises LogUnavailable; the vault goes on trying."""
        self.open.discard(entry)
        if outcome.logprobs:  # a line of megabytes is not written in the loop
            return await asyncio.wrap_future(await THREADS.run(self.vault.commit, entry, outcome))
        return await asyncio.wrap_future(self.vault.commit(entry, outcome))

    async def abandon(self, entry: Entry) -> None:
        """Commits a record that nobody owns any more."""
        error = {"type": "internal", "message": "the request ended without its generation"}
        usage = {"prompt_tokens": None, "completion_tokens": 0}
        await self.commit(entry, Outcome("", "error", usage, {"total_ms": 0.0}, 1, error))
