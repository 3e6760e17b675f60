"""Generations: each has a life of its own, and responses only follow it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from minivault.errors import NotFound, Unavailable
from minivault.generations.audit import THREADS, Audit
from minivault.generations.generation import Event, Follower, Generation, batches
from minivault.generations.generation_id import GenerationIds
from minivault.generations.prompt import draw_seed, prepare
from minivault.generations.registry import Registry
from minivault.generations.remembered import remembered
from minivault.generations.replay import origin_of, tell_in_turn
from minivault.generations.resume import Answer, Gone, Nothing, Resumed, Return, rejoin, resume
from minivault.generations.visitor import Visitor
from minivault.schemas import FinishReason, GenerateRequest
from minivault.vault import Record
from minivault.vault.replay import Replay, Verdict, replay

__all__ = [
    "Audit",
    "Event",
    "Follower",
    "Generation",
    "GenerationIds",
    "Generations",
    "Gone",
    "Nothing",
    "Registry",
    "Resumed",
    "Visitor",
    "batches",
]


class Generations:
    """The only door: web, command line and replay come in here. Event loop only."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def start(self, asked: GenerateRequest, visitor: Visitor) -> Follower:
        """Accepts a request and follows it from its first event; the same key attaches instead.

        Returns when the begin is on disk; the follower must be closed. One that is refused for
        want of room, or of a model, is counted.
        Raises InvalidRequest, KeyConflict, QueueFull, Loading, Draining, LogUnavailable.
        """
        registry, caller = self._registry, visitor.caller
        try:
            known = registry.named(asked, caller) if asked.key else None
            if known:
                if follower := await rejoin(registry, known, asked, visitor):
                    return follower
                known = registry.named(asked, caller)  # much may have happened meanwhile
            if known:
                return await registry.attach(known, lives_on=visitor.lives_on)
            backend = registry.open_backend()
            seed = draw_seed() if asked.seed is None else asked.seed
            request_hash = registry.ids.request_hash(asked)
            id = registry.ids.make(seed, request_hash, registry.engine_hash, caller)
            generation = Generation(id, asked, visitor, backend.info, call=visitor.call)
            prepared = partial(prepare, asked, seed, backend, caller)
            return await registry.launch(generation, prepared, backend)
        except Unavailable as refusal:
            registry.metrics.refused(refusal.reason)
            raise

    async def come_back(
        self, id: str, after: int, asked: GenerateRequest | None, visitor: Visitor
    ) -> Answer:
        """Goes on after event number `after`; see `resume` for what may be answered.

        `asked` is the request as it is told again, if it is.
        Raises KeyConflict if it is another one, Unavailable if the visitor has to wait.
        """
        return await resume(self._registry, Return(id, after, asked, visitor))

    async def recall(self, id: str, visitor: Visitor) -> Follower | None:
        """One that is kept or recorded, followed from its beginning; nothing is made again.

        None for another caller's, and for one that has no text here. Raises Unavailable.
        """
        registry = self._registry
        if registry.ids.read(id, visitor.caller) is None:
            return None
        if known := registry.find(id):
            return await registry.attach(known, lives_on=visitor.lives_on)
        info = registry.open_backend().info
        async with registry.lookups:
            records = await THREADS.run(registry.vault.find, id)
        found = [made for each in records if (made := remembered(each, info, visitor))]
        whole = (each for each in found if not each.unfinished)
        generation = next(whole, next(iter(found), None))
        return generation.follow() if generation else None

    async def stop(self, id: str, caller: str = "") -> Generation:
        """Ends a generation as cancelled and returns when that is recorded.

        Raises NotFound, also for one of another caller.
        """
        generation = self._registry.find(id)
        if generation is None or generation.visitor.caller != caller:
            raise NotFound("no generation with this id is running or kept here")
        self._registry.places.end(generation, FinishReason.CANCELLED)
        await generation.over()
        if generation.finish_reason is None:
            raise NotFound("this generation was not accepted, so there is nothing to stop")
        return generation

    async def replay(
        self,
        record: Record,
        visitor: Visitor,
        progress: Callable[[int], None] = lambda tokens: None,
    ) -> Replay:
        """Makes the text of a record again, behind everybody, and compares.

        `progress` gets the number of tokens so far. Raises Unavailable.
        """
        origin = origin_of(self._registry.open_backend())
        if record.model and record.model.get("sha256") != origin.model["sha256"]:
            why = f"{record.model.get('name')} made it, and {origin.model['name']} serves here"
            return Replay(record.seq, Verdict.NOT_REPRODUCIBLE, why=why)
        return await replay(
            record, partial(tell_in_turn, self._registry, visitor, progress), origin
        )
