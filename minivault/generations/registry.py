"""All generations of a server: found by id and key, followed, and ended when they are left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from minivault.backends.base import Backend
from minivault.background import start_task
from minivault.errors import Draining, FieldError, KeyConflict, Loading, MiniVaultError
from minivault.generations.audit import Audit
from minivault.generations.generation import Follower, Generation, State
from minivault.generations.generation_id import GenerationIds, engine_hash
from minivault.generations.life import live
from minivault.generations.places import Places
from minivault.generations.prompt import Prepared
from minivault.generations.record import measure
from minivault.generations.shelf import Shelf
from minivault.generations.speech import Speech
from minivault.metrics import Metrics
from minivault.schemas import FinishReason, GenerateRequest
from minivault.trace import trace
from minivault.vault import Vault

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10.0


class Registry:
    """Keeps the generations and the rules of listening to them. Event loop only.

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
        self.engine_hash = b""  # the backend's, in ids
        self.draining = False
        self.shelf = Shelf()
        self.places = Places(max_running, max_waiting, callers)
        self.speech = Speech(vault, self.metrics, self.places.halt)
        self._grace = grace
        self.lookups = asyncio.Semaphore(2)  # who comes back leaves threads to those who begin
        self._timers: dict[Generation, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # which no client's leaving may cancel
        self._idle = asyncio.Event()
        self._idle.set()

    def serve(self, backend: Backend) -> None:
        """From now on this backend makes the texts."""
        self.backend = backend
        self.engine_hash = engine_hash(backend.info)

    def open_backend(self) -> Backend:
        """The backend, if new work is taken now. Raises Draining or Loading."""
        if self.draining:
            raise Draining("the server is shutting down; come again in a moment")
        if self.backend is None:
            raise Loading("the model is still being loaded; /health tells how far it is")
        return self.backend

    # ---- following ------------------------------------------------------------------------------

    async def launch(
        self,
        generation: Generation,
        prepare: Callable[[], Prepared],
        backend: Backend,
        after: int = -1,
    ) -> Follower:
        """Begins a life, followed from the event after number `after`.

        Its id and key are reserved at once; whoever attaches meanwhile waits until it is accepted.
        `prepare` blocks. Raises what it raises, QueueFull and LogUnavailable.
        """
        self.places.expect(generation)
        self.shelf.put(generation)
        self._idle.clear()
        refused = partial(self._refused, generation)
        start_task(self._live(generation, prepare, backend), failed=refused, among=self._tasks)
        return await self.attach(generation, after, lives_on=generation.visitor.lives_on)

    async def attach(self, generation: Generation, after: int = -1, *, lives_on: bool) -> Follower:
        """A follower of the events after number `after`. It must be closed.

        Returns when the generation is accepted. Raises what keeps it from being accepted.
        """
        follower = generation.follow(after)
        follower.on_close = self._unfollowed
        generation.lives_on |= lives_on
        if timer := self._timers.pop(generation, None):
            timer.cancel()
        try:
            await asyncio.shield(generation.accepted)
        except BaseException:
            follower.close()
            raise
        self.places.schedule()
        return follower

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
        """A generation that is being accepted, runs, waits or is kept."""
        return self.shelf.by_id(id)

    async def _live(
        self, generation: Generation, prepare: Callable[[], Prepared], backend: Backend
    ) -> None:
        await live(
            generation,
            prepare,
            backend,
            places=self.places,
            speech=self.speech,
            metrics=self.metrics,
        )
        if timer := self._timers.pop(generation, None):  # else it would keep the text for its time
            timer.cancel()
        measure(generation, self.metrics)
        self.shelf.keep(generation)
        self._check_idle()
        self.places.schedule()

    def _refused(self, generation: Generation, error: Exception) -> None:
        """A request could not be accepted: nothing of it stays."""
        if not isinstance(error, MiniVaultError):
            logger.error("a request could not be accepted:\n%s", trace(error))
        generation.state = State.ENDED
        if not generation.accepted.done():
            generation.accepted.set_exception(error)
            generation.accepted.exception()  # all who wait for it may have left
        self.places.forget(generation)
        self.shelf.drop(generation)
        for follower in generation.followers:
            follower.changed.set()
        self._check_idle()

    def _unfollowed(self, generation: Generation) -> None:
        """The last listener may have left: the generation ends now, or after its grace."""
        if generation.ended:
            self.shelf.tidy()
        if generation.heard or generation.ended:
            return
        if not generation.lives_on:
            self.places.end(generation, FinishReason.DISCONNECTED)
            return

        def abandon() -> None:
            self._timers.pop(generation, None)
            if not generation.heard:
                self.places.end(generation, FinishReason.DISCONNECTED)

        self._timers[generation] = asyncio.get_running_loop().call_later(self._grace, abandon)
        self.places.drop_unheard()
        self.places.schedule()

    # ---- all of them ----------------------------------------------------------------------------

    def drain(self) -> None:
        """From now on nothing new is accepted; what is accepted goes on."""
        self.draining = True

    async def interrupt(self) -> None:
        """Ends whatever is still open as interrupted; returns when all is recorded."""
        self.draining = True
        for generation in self.shelf.open():
            self.places.end(generation, FinishReason.INTERRUPTED)
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
            start_task(audit.abandon(entry), among=self._tasks)

    @property
    def busy(self) -> bool:
        """Whether a text is being made or waited for. Any thread."""
        return bool(self.places.running or self.places.waiting)

    def statistics(self) -> dict[str, float]:
        """Gauges: running, waiting, followers, kept."""
        return {
            "running": self.places.running,
            "waiting": self.places.waiting,
            "followers": sum(len(each.followers) for each in self.shelf),
            "kept": self.shelf.kept,
        }

    def _check_idle(self) -> None:
        if not self.shelf.has_open:
            self._idle.set()
