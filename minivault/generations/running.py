"""The generations that have a place: their pieces go to the journal, then to the followers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minivault.backends.base import Finish
from minivault.background import kind, start_task
from minivault.errors import BackendFailed, LogUnavailable, MiniVaultError
from minivault.generations.generation import UNFINISHED, Generation, State
from minivault.generations.record import outcome_of, terminal_event
from minivault.generations.run import run
from minivault.schemas import FinishReason, Receipt
from minivault.trace import trace

if TYPE_CHECKING:
    from minivault.generations.registry import Registry

logger = logging.getLogger(__name__)

_ROUNDING = 1e-9  # of the sum of many shares


@dataclass(frozen=True, slots=True)
class _Room:
    """Places, and the part of the backend's memory that goes with them."""

    places: int
    memory: float

    def holds(self, generation: Generation) -> bool:
        return self.places > 0 and generation.share <= self.memory + _ROUNDING

    def without(self, generation: Generation) -> _Room:
        return _Room(self.places - 1, self.memory - generation.share)

    def with_back(self, generation: Generation) -> _Room:
        return _Room(self.places + 1, self.memory + generation.share)


class Running:
    """One task per running generation iterates the backend. Event loop only."""

    def __init__(self, registry: Registry, most: int) -> None:
        """`most`: how many may run at once."""
        self._registry = registry
        self._most = most
        self._is_short = False  # somebody waits, and all that could give way do
        self._pumps: dict[Generation, asyncio.Task[FinishReason]] = {}
        self._giving_way: set[Generation] = set()
        self._unsaid: list[tuple[Generation, dict[str, Any]]] = []

    def __len__(self) -> int:
        return len(self._pumps)

    @property
    def free(self) -> int:
        """How many places a listened-to generation could have; none where memory is short."""
        if self._is_short:
            return 0
        return max(0, self._most - len(self._pumps) + len(self._unheard()))

    def by_caller(self) -> Counter[str]:
        """How many places each caller has."""
        return Counter(generation.caller for generation in self._pumps)

    def fits(self, generation: Generation) -> bool:
        """Whether there is a place for it, and memory."""
        return not self._pumps or self._spare.holds(generation)

    def start(self, generation: Generation) -> None:
        """Gives a generation a place; it runs from its first token."""
        generation.state = State.RUNNING
        generation.started_at = generation.started_at or time.monotonic()
        pump = start_task(self._pump(generation), failed=_say)
        self._pumps[generation] = pump
        pump.add_done_callback(lambda task: self._pumped(generation, task))

    def halt(self, generation: Generation) -> None:
        """Stops the backend's work for it at the next token."""
        self._pumps[generation].cancel()

    def make_room(self, wanted: list[Generation]) -> None:
        """Takes places from generations that nobody listens to, for those that want one."""
        self._is_short = False
        spare = self._spare
        for each in self._giving_way:
            spare = spare.with_back(each)
        unheard = self._unheard()
        for generation in wanted:
            leaving: list[Generation] = []
            while unheard and not spare.holds(generation):
                leaving.append(unheard.pop(0))
                spare = spare.with_back(leaving[-1])
            self._is_short = not spare.holds(generation)
            if self._is_short:
                return
            spare = spare.without(generation)
            for each in leaving:
                self._giving_way.add(each)
                self.halt(each)

    @property
    def _spare(self) -> _Room:
        """What nobody has."""
        room = _Room(self._most, 1.0)
        for generation in self._pumps:
            room = room.without(generation)
        return room

    async def finish(
        self, generation: Generation, reason: FinishReason, error: MiniVaultError | None = None
    ) -> None:
        """Writes the record, then the last event. Never cancelled by a client."""
        self._say_tail(generation, reason)
        generation.ended_at = time.monotonic()
        receipt: Receipt | None = None
        assert generation.entry is not None
        try:
            outcome = outcome_of(generation, reason, error)
            kept = await generation.audit.commit(generation.entry, outcome)
            receipt = Receipt(seq=kept.seq, hash=kept.hash)
        except LogUnavailable as failure:
            reason, error = FinishReason.ERROR, failure
        except Exception as failure:  # noqa: BLE001 - its followers wait for the last event
            logger.error("a record could not be made:\n%s", trace(failure))
            reason = FinishReason.ERROR
            error = BackendFailed(f"the record could not be made: {kind(failure)}")
        generation.finish_reason = reason
        generation.state = State.ENDED
        backend = self._registry.backend
        resumable = backend is not None and backend.info.reproducible
        generation.append(terminal_event(generation, error, receipt, resumable=resumable))
        self._registry.ended(generation)

    async def _pump(self, generation: Generation) -> FinishReason:
        assert generation.request is not None
        assert self._registry.backend is not None
        generation.text.start_over()
        async with aclosing(run(self._registry.backend, generation.request)) as source:
            async for item in source:
                if isinstance(item, Finish):
                    return item.reason
                if said := generation.text.take(item):
                    self._say(generation, said)
        return FinishReason.STOP

    def _say(self, generation: Generation, said: dict[str, Any]) -> None:
        """Collects what this turn of the loop brings, so that one write journals it all."""
        if not self._unsaid:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsaid.append((generation, said))

    def _flush(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        if not unsaid:
            return
        try:
            self._registry.vault.pieces(
                [(each.entry, said["text"]) for each, said in unsaid if each.entry]
            )
        except Exception as failure:  # noqa: BLE001 - what is not in the journal is not said
            error = _as_log_error(failure)
            for generation in dict.fromkeys(generation for generation, _ in unsaid):
                self._fail(generation, error)
            return
        now = time.monotonic()
        for generation, said in unsaid:
            self._time(generation, now)
            generation.say(said)

    def _time(self, generation: Generation, now: float) -> None:
        if generation.last_token_at is None:
            generation.first_token_at = now
            self._registry.metrics.first_token(now - generation.accepted_at)
        else:
            self._registry.metrics.between_tokens(now - generation.last_token_at)
        generation.last_token_at = now

    def _fail(self, generation: Generation, error: MiniVaultError) -> None:
        generation.text.take_back()
        generation.failure = error
        if generation in self._pumps:
            self.halt(generation)

    def _say_tail(self, generation: Generation, reason: FinishReason) -> None:
        """What was held back is said at every end, but for those after which the text can go on."""
        if reason not in UNFINISHED and (said := generation.text.take_tail()):
            self._say(generation, said)
        self._flush()

    def _pumped(self, generation: Generation, pump: asyncio.Task[FinishReason]) -> None:
        """The backend is through with a generation, for whatever reason."""
        del self._pumps[generation]
        gave_way = generation in self._giving_way
        self._giving_way.discard(generation)
        self._flush()
        error = generation.failure
        if error:
            reason = FinishReason.ERROR
        elif pump.cancelled():
            if gave_way and not generation.ending:
                self._registry.queue(generation)
                return
            reason = generation.ending or FinishReason.INTERRUPTED
        elif failure := pump.exception():
            reason, error = FinishReason.ERROR, _as_error(failure)
        else:
            reason = pump.result()
        generation.state = State.ENDING
        self._registry.spawn(self.finish(generation, reason, error))
        self._registry.schedule()

    def _unheard(self) -> list[Generation]:
        backend = self._registry.backend
        if backend is None or not backend.info.reproducible:
            return []
        return [each for each in self._pumps if not each.heard and each not in self._giving_way]


def _say(failure: Exception) -> None:
    """The trace is logged without its message: that may quote a prompt."""
    if not isinstance(failure, MiniVaultError):
        logger.error("the backend raised:\n%s", trace(failure))


def _as_error(failure: BaseException) -> MiniVaultError:
    """What a client may know."""
    if isinstance(failure, MiniVaultError):
        return failure
    return BackendFailed(f"the backend raised {kind(failure)}")


def _as_log_error(failure: Exception) -> LogUnavailable:
    if isinstance(failure, LogUnavailable):
        return failure
    logger.error("the journal raised:\n%s", trace(failure))
    return LogUnavailable(f"the journal cannot be written: {kind(failure)}")
