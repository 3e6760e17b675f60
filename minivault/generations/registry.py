"""Owns all generations: accepts, queues, runs, ends and keeps them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from minivault.backends.base import Backend
from minivault.background import start_task
from minivault.errors import Draining, FieldError, KeyConflict, Loading, NotFound
from minivault.generations.accepting import Accepting
from minivault.generations.admission import Admission
from minivault.generations.audit import Audit
from minivault.generations.generation import Follower, Generation, State
from minivault.generations.generation_id import GenerationIds, engine_hash
from minivault.generations.prompt import draw_seed
from minivault.generations.record import measure
from minivault.generations.running import Running
from minivault.generations.shelf import Shelf
from minivault.generations.waiting import WaitingLine
from minivault.metrics import Metrics
from minivault.schemas import Client, FinishReason, GenerateRequest
from minivault.vault import Vault

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
MAX_UNHEARD_WAITING = 256


class Registry:
    """All generations of a server. Event loop only.

    `max_running` generations run at once; `max_waiting` that somebody listens to may wait.
    """

    def __init__(
        self,
        vault: Vault,
        ids: GenerationIds,
        *,
        max_running: int = 32,
        max_waiting: int = 32,
        grace: float = GRACE_SECONDS,
        callers: int = 1,
        metrics: Metrics | None = None,
    ) -> None:
        """`grace`: seconds that a generation which lives on may go without a listener.

        `callers`: how many have keys of their own; several share the queue.
        """
        self.vault = vault
        self.ids = ids
        self.metrics = metrics or Metrics()
        self.backend: Backend | None = None
        self.draining = False
        self.shelf = Shelf()
        self._grace = grace
        self._running = Running(self, max_running)
        self._line = WaitingLine(self._running.by_caller)
        self._accepting = Accepting(self)
        self._admission = Admission(
            self._line, self._accepting, self._running, max_waiting, callers
        )
        self._timers: dict[Generation, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    # ---- asked from outside -------------------------------------------------------------------

    def serve(self, backend: Backend) -> None:
        """From now on this backend makes the texts."""
        self.backend = backend
        self.schedule()

    async def start(
        self,
        asked: GenerateRequest,
        *,
        client: Client,
        audit: Audit,
        caller: str = "",
        lives_on: bool = False,
    ) -> Follower:
        """Accepts a request and follows it from its first event; the same key attaches instead.

        Returns when the begin is on disk. `caller` is whose key names are meant; `lives_on` says
        that the generation goes on for a while without a listener.
        Raises InvalidRequest, KeyConflict, QueueFull, Loading, Draining, LogUnavailable.
        """
        known = self.named(asked, caller)
        if known is not None:
            return await self.attach(known, lives_on=lives_on)
        backend = self.open_backend()
        self.check_room(caller)
        seed = draw_seed() if asked.seed is None else asked.seed
        id = self.ids.make(seed, self.ids.request_hash(asked), engine_hash(backend.info), caller)
        generation = Generation(id, asked, caller, client, audit)
        resolved = self._accepting.resolve(generation, seed)
        return await self.launch(generation, resolved, lives_on=lives_on)

    async def launch(
        self,
        generation: Generation,
        resolved: Coroutine[Any, Any, None],
        *,
        after: int = -1,
        lives_on: bool,
    ) -> Follower:
        """Reserves id and key at once, then accepts; whoever attaches meanwhile waits for it.

        `resolved` fills in the generation's request.
        """
        self.shelf.put(generation)
        self._idle.clear()
        self._accepting.start(generation, resolved)
        return await self.attach(generation, after, lives_on=lives_on)

    async def attach(self, generation: Generation, after: int = -1, *, lives_on: bool) -> Follower:
        """A follower of the events after number `after`. It must be closed."""
        follower = generation.follow(after)
        follower.on_close = self._unfollowed
        generation.lives_on |= lives_on
        self._cancel_timer(generation)
        try:
            await self._accepting.over(generation)
        except BaseException:
            follower.close()
            raise
        self.schedule()
        return follower

    async def stop(self, id: str, caller: str = "") -> Generation:
        """Ends a generation as cancelled and returns when that is recorded.

        Raises NotFound, also for one of another caller.
        """
        generation = self.shelf.by_id(id)
        if generation is None or generation.caller != caller:
            raise NotFound("no generation with this id is running or kept here")
        self.end(generation, FinishReason.CANCELLED)
        await generation.over()
        if generation.finish_reason is None:
            raise NotFound("this generation was not accepted, so there is nothing to stop")
        return generation

    def named(self, asked: GenerateRequest, caller: str) -> Generation | None:
        """The generation that this key names. Raises KeyConflict if another request has it."""
        known = self.shelf.by_key(caller, asked.key) if asked.key else None
        if known is None or known.asked is None:
            return None
        if self.ids.request_hash(known.asked) != self.ids.request_hash(asked):
            message = "names another request that is still kept; take a new key"
            raise KeyConflict([FieldError("key", message)])
        return known

    def find(self, id: str) -> Generation | None:
        """A generation that is accepted, running or kept."""
        return self.shelf.by_id(id)

    def open_backend(self) -> Backend:
        """The backend, if new work is taken now. Raises Draining or Loading."""
        if self.draining:
            raise Draining("the server is shutting down; come again in a moment")
        if self.backend is None:
            raise Loading("the model is still being loaded; /health tells how far it is")
        return self.backend

    def check_room(self, caller: str, *, replay: bool = False) -> None:
        """Raises QueueFull if as many wait as may wait, all together or of this caller."""
        self._admission.check(caller, replay=replay)

    def drain(self) -> None:
        """From now on nothing new is accepted; what is accepted goes on."""
        self.draining = True

    async def interrupt(self) -> None:
        """Ends whatever is still open as interrupted; returns when all is recorded."""
        self.draining = True
        for generation in self.shelf.open():
            self.end(generation, FinishReason.INTERRUPTED)
        await self.idle()

    async def idle(self) -> None:
        """Returns when every accepted generation has ended and is recorded."""
        while not self._idle.is_set() or self._tasks:
            await self._idle.wait()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # what forgets ended tasks comes in the loop's next turn

    def settle(self, audit: Audit) -> None:
        """Commits as an error what this handle began and no living generation owns."""
        owned = {generation.entry for generation in self.shelf.open()}
        for entry in [entry for entry in audit.open if entry not in owned]:
            logger.error("a begun record was left open; it is committed as an error")
            self.spawn(audit.abandon(entry))

    @property
    def busy(self) -> bool:
        """Whether a text is being made or waited for. Any thread."""
        return bool(self._running) or bool(self._line) or bool(self._accepting)

    def statistics(self) -> dict[str, float]:
        """Gauges: running, waiting, followers, kept."""
        return {
            "running": len(self._running),
            "waiting": len(self._line) + len(self._accepting),
            "followers": sum(len(each.followers) for each in self.shelf),
            "kept": self.shelf.kept,
        }

    # ---- the life of a generation ---------------------------------------------------------------

    def end(self, generation: Generation, reason: FinishReason) -> None:
        """Makes a generation end at its next token, or at once if it does not run."""
        if generation.ended or generation.ending:
            return
        generation.ending = reason
        if generation.state is State.RUNNING:
            self._running.halt(generation)
        elif generation.state is State.WAITING:
            self._line.remove(generation)
            generation.state = State.ENDING
            self.spawn(self._running.finish(generation, reason))

    def queue(self, generation: Generation) -> None:
        """Puts an accepted generation in the line."""
        generation.state = State.WAITING
        self._line.add(generation)
        self._drop_unheard()
        self.schedule()

    def refused(self, generation: Generation) -> None:
        """A request could not be accepted: nothing of it stays."""
        generation.state = State.ENDED
        self.shelf.drop(generation)
        generation.wake()
        if not self.shelf.open():
            self._idle.set()

    def schedule(self) -> None:
        """Starts whatever has a place; a listened-to one takes the place of an unheard one."""
        if self.backend is None:
            return
        while (waiting := self._line.order()) and self._running.fits(waiting[0]):
            self._line.remove(waiting[0])
            self._running.start(waiting[0])
        self._running.make_room([each for each in waiting if each.heard])
        self._line.tell_positions()

    def ended(self, generation: Generation) -> None:
        """A generation has its last event: keeps it, and makes room."""
        self._cancel_timer(generation)
        measure(generation, self.metrics)
        self.shelf.keep(generation)
        if not self.shelf.open():
            self._idle.set()
        self.schedule()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs work of ours that no client's leaving may cancel."""
        task = start_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- rules ----------------------------------------------------------------------------------

    def _unfollowed(self, generation: Generation) -> None:
        """The last listener may have left: the generation ends now, or after its grace."""
        if generation.ended:
            self.shelf.tidy()
        if generation.heard or generation.ended:
            return
        if not generation.lives_on:
            self.end(generation, FinishReason.DISCONNECTED)
            return
        loop = asyncio.get_running_loop()
        self._timers[generation] = loop.call_later(self._grace, self._abandon, generation)
        self._drop_unheard()
        self.schedule()

    def _abandon(self, generation: Generation) -> None:
        self._timers.pop(generation, None)
        if not generation.heard:
            self.end(generation, FinishReason.DISCONNECTED)

    def _drop_unheard(self) -> None:
        """Bounds the memory that clients which connect and vanish can take."""
        for generation in self._line.unheard()[:-MAX_UNHEARD_WAITING]:
            self.end(generation, FinishReason.DISCONNECTED)

    def _cancel_timer(self, generation: Generation) -> None:
        timer = self._timers.pop(generation, None)
        if timer:
            timer.cancel()
