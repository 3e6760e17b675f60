"""Who runs, who waits, who gives way, and how many may come in."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from minivault.background import start_task
from minivault.errors import QueueFull
from minivault.generations.generation import Generation, State
from minivault.generations.waiting import WaitingLine
from minivault.schemas import FinishReason

MAX_UNHEARD_WAITING = 256
_ROUNDING = 1e-9  # of the sum of many shares

Work = Callable[[], Coroutine[Any, Any, FinishReason]]
Running = asyncio.Task[FinishReason]


@dataclass(frozen=True, slots=True)
class _Room:
    """Places, and the part of the backend's memory that goes with them."""

    places: int
    memory: float

    def holds(self, share: float) -> bool:
        return self.places > 0 and share <= self.memory + _ROUNDING

    def without(self, generation: Generation) -> _Room:
        return _Room(self.places - 1, self.memory - generation.share)

    def with_back(self, generation: Generation) -> _Room:
        return _Room(self.places + 1, self.memory + generation.share)


class Places:
    """One task per running generation does its work. Event loop only."""

    def __init__(self, most_running: int, most_waiting: int, callers: int = 1) -> None:
        """One of several `callers` may fill half of the queue: the rest is kept for the others."""
        self._most_running = most_running
        self._most_waiting = most_waiting
        self._callers = callers
        self._expected: set[Generation] = set()  # their share of the memory is not known yet
        self._admitted: set[Generation] = set()  # their begin is being written
        self._line = WaitingLine(lambda: self._places_of.copy())
        self._turns: dict[Generation, tuple[Work, asyncio.Future[Running | None]]] = {}
        self._running: dict[Generation, Running] = {}
        self._giving_way: set[Generation] = set()
        # Sums over those that run, kept as they come and go: there may be ten thousand of them.
        self._spare = _Room(most_running, 1.0)  # what nobody has
        self._places_of: Counter[str] = Counter()  # how many each caller has

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many have no place, those included that are being accepted."""
        return len(self._line) + len(self._expected) + len(self._admitted)

    # ---- coming in ------------------------------------------------------------------------------

    def expect(self, generation: Generation) -> None:
        """Counts one that is being accepted, until it runs or `forget` is called.

        Raises QueueFull if as many wait as may wait, all together or of its caller. Who has no
        listener does not count; replays are counted among themselves. How much memory those take
        that are being accepted is not known yet: `admit` asks again when it is.
        """
        caller = generation.visitor.caller
        own = [each for each in self._expected if each.visitor.caller == caller]
        self._require_room(generation, [*self._admitted, *own])
        self._expected.add(generation)

    def admit(self, generation: Generation) -> None:
        """Lets it in for good, now that its share of the memory is known. Raises QueueFull."""
        self._require_room(generation, [*self._admitted])
        self._expected.discard(generation)
        self._admitted.add(generation)

    def forget(self, generation: Generation) -> None:
        """It is not being accepted any more."""
        self._expected.discard(generation)
        self._admitted.discard(generation)

    def _require_room(self, generation: Generation, accepted: list[Generation]) -> None:
        """Raises QueueFull unless it finds a place now, or one in the queue."""
        caller, share = generation.visitor.caller, generation.share
        replay = generation.replays is not None
        room = self._after_giving_way
        waiting, left = self._without_place(accepted, room, replay=replay)
        if not replay and (waiting or not left.holds(share)):
            # What unheard generations have is free: they would give way, but to no replay.
            for each in self._unheard():
                room = room.with_back(each)
            waiting, left = self._without_place(accepted, room, replay=replay)
        if not waiting and left.holds(share):
            return
        if len(waiting) >= self._most_waiting:
            many = "1 request is" if len(waiting) == 1 else f"{len(waiting)} requests are"
            raise QueueFull(f"{many} waiting already; come again in a moment")
        own = sum(each.visitor.caller == caller for each in waiting)
        if self._callers > 1 and not replay and own >= max(1, self._most_waiting // 2):
            raise QueueFull(f"{own} of your requests are waiting already; come again in a moment")

    def _without_place(
        self, accepted: list[Generation], room: _Room, *, replay: bool
    ) -> tuple[list[Generation], _Room]:
        """Those in the queue or just accepted that find no place in this room, and what is left.

        Whoever comes waits for a moment, even where a place is free. Replays come last of all.
        """
        line = [each for each in self._line.order() if replay or each.heard]
        coming = [each for each in [*line, *accepted] if replay or each.replays is None]
        for place, each in enumerate(coming):
            if not room.holds(each.share):
                left = coming[place:]
                return [each for each in left if (each.replays is not None) == replay], room
            room = room.without(each)
        return [], room

    # ---- running --------------------------------------------------------------------------------

    async def run(self, generation: Generation, work: Work) -> FinishReason:
        """Does the work as soon as there is a place, and again each time that it had to give way.

        Returns how it ended, if need be without a place. Raises what the work raised.
        """
        self._admitted.discard(generation)
        while not generation.ending:
            turn: asyncio.Future[Running | None] = asyncio.get_running_loop().create_future()
            generation.state = State.WAITING
            self._turns[generation] = work, turn
            self._line.add(generation)
            if not generation.followers:
                self.drop_unheard()
            self.schedule()
            task = await turn
            if task is None:  # it was ended before its turn came
                break
            # Only the work is ever cancelled, by `halt`; whoever waits here goes on.
            await asyncio.wait([task])
            self._ended(generation)
            gave_way = generation in self._giving_way
            self._giving_way.discard(generation)
            self.schedule()
            if not task.cancelled():  # it may have come to its end before it was halted
                return task.result()
            if not gave_way:
                break
        return generation.ending or FinishReason.INTERRUPTED

    def end(self, generation: Generation, reason: FinishReason) -> None:
        """Makes a generation end at its next token, or at once if it does not run."""
        if generation.ended or generation.ending:
            return
        generation.ending = reason
        if generation.state is State.WAITING:
            self._line.remove(generation)
            generation.state = State.ENDING
            _, turn = self._turns.pop(generation)
            if not turn.done():  # a loop that is closed cancels whoever waits
                turn.set_result(None)
        self.halt(generation)

    def halt(self, generation: Generation) -> None:
        """Stops the work for it, if it runs, at the next token."""
        if task := self._running.get(generation):
            task.cancel()

    # ---- who is next ----------------------------------------------------------------------------

    def schedule(self) -> None:
        """Starts whatever has a place; a listened-to one takes the place of an unheard one.

        But no replay does: unheard ones that wait come before it, and would take it back. Whoever
        listens to one that waits is told its place.
        """
        while (waiting := self._line.order()) and (
            not self._running or self._spare.holds(waiting[0].share)
        ):
            self._start(waiting[0])
        if wanted := [each for each in waiting if each.heard and each.replays is None]:
            self._make_room(wanted)
        for position, each in enumerate(waiting, start=1):
            for follower in each.followers:
                follower.waits_at(position)

    def drop_unheard(self) -> None:
        """Bounds the memory that clients which connect and vanish can take."""
        for generation in self._line.unheard()[:-MAX_UNHEARD_WAITING]:
            self.end(generation, FinishReason.DISCONNECTED)

    def _start(self, generation: Generation) -> None:
        # The work begins here and not where the turn is waited for: from now on it can be halted.
        self._line.remove(generation)
        work, turn = self._turns.pop(generation)
        generation.state = State.RUNNING
        generation.times.started = generation.times.started or time.monotonic()
        self._running[generation] = task = start_task(work(), failed=lambda _: None)
        self._spare = self._spare.without(generation)
        self._places_of[generation.visitor.caller] += 1
        if not turn.done():
            turn.set_result(task)

    def _ended(self, generation: Generation) -> None:
        del self._running[generation]
        self._spare = self._spare.with_back(generation)
        self._places_of[generation.visitor.caller] -= 1
        if not self._running:  # no rounding goes on for ever
            self._spare = _Room(self._most_running, 1.0)
            self._places_of.clear()

    def _make_room(self, wanted: list[Generation]) -> None:
        """Takes places from generations that nobody listens to, for those that want one."""
        spare = self._after_giving_way
        unheard = self._unheard()
        for generation in wanted:
            leaving: list[Generation] = []
            while unheard and not spare.holds(generation.share):
                leaving.append(unheard.pop(0))
                spare = spare.with_back(leaving[-1])
            if not spare.holds(generation.share):
                return
            spare = spare.without(generation)
            for each in leaving:
                self._giving_way.add(each)
                self.halt(each)

    @property
    def _after_giving_way(self) -> _Room:
        """What nobody has as soon as those have gone that were told to."""
        room = self._spare
        for generation in self._giving_way:
            room = room.with_back(generation)
        return room

    def _unheard(self) -> list[Generation]:
        """Those that can give way: nobody listens, and what they said can be made again."""
        return [
            each
            for each in self._running
            if not each.heard and each not in self._giving_way and each.info.reproducible
        ]
