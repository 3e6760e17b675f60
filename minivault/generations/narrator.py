"""Makes the text of a record again with a loaded backend: what a replay compares with."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable

from minivault.backends.base import Backend, Finish, Request
from minivault.generations.audit import Audit
from minivault.generations.generation import Generation
from minivault.generations.generation_id import engine_hash
from minivault.generations.record import engine_data
from minivault.generations.registry import Registry
from minivault.generations.run import run
from minivault.schemas import Client, EffectiveParameters
from minivault.vault.record import Record
from minivault.vault.replay import Origin


class Narrator:
    """Tells records again. `told` is what was said last, `tokens` how many tokens it took."""

    def __init__(
        self, backend: Backend, progress: Callable[[int], None] = lambda tokens: None
    ) -> None:
        self._backend = backend
        self._progress = progress
        self.told = ""
        self.tokens = 0

    @property
    def origin(self) -> Origin:
        return origin_of(self._backend)

    async def tell(self, record: Record, max_tokens: int) -> AsyncGenerator[str, None]:
        """The text from its beginning, stop strings applied; ends after `max_tokens`."""
        request = request_of(record, max_tokens)
        self.told, self.tokens, tail = "", 0, ""
        async for item in run(self._backend, request):
            text = tail if isinstance(item, Finish) else item.text
            self.told += text
            if not isinstance(item, Finish):
                tail = item.tail
                self.tokens += item.tokens
                self._progress(self.tokens)
            yield text


class QueuedNarrator:
    """Tells records again on a server: behind everybody in the queue, recorded as a replay."""

    def __init__(
        self,
        registry: Registry,
        audit: Audit,
        progress: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        """Raises Loading or Draining."""
        self._registry = registry
        self._audit = audit
        self._progress = progress
        self._backend = registry.open_backend()
        self.told = ""
        self.tokens = 0

    @property
    def origin(self) -> Origin:
        return origin_of(self._backend)

    async def tell(self, record: Record, max_tokens: int) -> AsyncGenerator[str, None]:
        """As `Narrator.tell`. Raises QueueFull, LogUnavailable."""
        self.told, self.tokens = "", 0
        self._registry.check_room("", replay=True)
        generation = self._generation(record)
        follower = await self._registry.launch(
            generation, _fill_in(generation, record, max_tokens), lives_on=False
        )
        try:
            async for batch in follower.batches():
                text = "".join(event.text for _, event in batch)
                self.told += text
                self.tokens = generation.text.tokens
                self._progress(self.tokens)
                yield text
        finally:
            follower.close()

    def _generation(self, record: Record) -> Generation:
        engine = engine_hash(self._backend.info)
        id = self._registry.ids.make(record.seed or 0, secrets.token_bytes(8), engine)
        return Generation(id, None, "", Client.JSON, self._audit, replays=record.seq)


async def _fill_in(generation: Generation, record: Record, max_tokens: int) -> None:
    generation.request = request_of(record, max_tokens)
    generation.prompt_tokens = record.usage.get("prompt_tokens")


def origin_of(backend: Backend) -> Origin:
    """What would make the text now."""
    info = backend.info
    model = {"name": info.name, "sha256": info.sha256}
    return Origin(model, engine_data(info), info.reproducible)


def request_of(record: Record, max_tokens: int) -> Request:
    """The request of a record, to be made again up to `max_tokens`."""
    params = EffectiveParameters.model_validate({**record.params, "max_tokens": max_tokens})
    return Request(record.prompt or "", params, record.seed or 0)
