"""From a request to an accepted one: prompt counted, begin on disk, `start` said."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from minivault.background import in_thread
from minivault.generations.generation import Generation
from minivault.generations.prompt import resolve, share_of
from minivault.generations.record import begin_of, start_event
from minivault.schemas import FinishReason

if TYPE_CHECKING:
    from minivault.generations.registry import Registry


class Accepting:
    """One task per request that is being accepted; no client's leaving cancels it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tasks: dict[Generation, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Generation]:
        return iter(self._tasks)

    def start(self, generation: Generation, resolved: Coroutine[Any, Any, None]) -> None:
        """Begins to accept; `resolved` fills in the generation's request."""
        self._tasks[generation] = self._registry.spawn(self._accept(generation, resolved))

    async def over(self, generation: Generation) -> None:
        """Returns when it is accepted. Raises what `Registry.start` raises."""
        task = self._tasks.get(generation)
        if task:
            await asyncio.shield(task)

    async def resolve(self, generation: Generation, seed: int) -> None:
        """Fills in the request of a new generation. Raises InvalidRequest."""
        assert generation.asked is not None
        assert self._registry.backend is not None
        generation.request, generation.prompt_tokens = await in_thread(
            resolve, generation.asked, seed, self._registry.backend, generation.caller
        )

    async def _accept(self, generation: Generation, resolved: Coroutine[Any, Any, None]) -> None:
        try:
            await resolved
            assert self._registry.backend is not None
            backend, request = self._registry.backend, generation.request
            assert request is not None
            generation.share = share_of(request, generation.prompt_tokens, backend)
            info = backend.info
            generation.entry = await generation.audit.begin(begin_of(generation, info))
        except BaseException:
            self._registry.refused(generation)
            raise
        finally:
            self._tasks.pop(generation, None)
        self._registry.metrics.accepted(generation.client)
        generation.append(start_event(generation, info.name))
        self._place(generation)

    def _place(self, generation: Generation) -> None:
        """It goes in the line; whoever left or stopped it meanwhile ends it there."""
        ending, generation.ending = generation.ending, None
        self._registry.queue(generation)
        if ending or not (generation.heard or generation.lives_on):
            self._registry.end(generation, ending or FinishReason.DISCONNECTED)
