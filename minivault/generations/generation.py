"""A generation: one accepted request and the append-only list of its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from sys import getsizeof
from typing import Any

from minivault.backends.base import Drafts, ModelInfo, Request
from minivault.errors import MiniVaultError
from minivault.generations.text import Text
from minivault.generations.visitor import Visitor
from minivault.schemas import UNFINISHED, FinishReason, GenerateRequest
from minivault.text_request import Call
from minivault.vault import Entry

_BARE = 4000  # bytes of a generation, its request and parameters, its record's begin
_TOKEN = 36  # bytes of a prompt's token and of its place in the request
_BARE_EVENT = 80  # bytes of an event and of its place in the list


class State(Enum):
    """The life of a generation, in order; RUNNING can fall back to WAITING."""

    ACCEPTING = "accepting"  # its begin is not on disk yet
    WAITING = "waiting"
    RUNNING = "running"
    ENDING = "ending"  # the backend is through with it; its record is being written
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` None is a piece of text. Only numbered ones have an id on the wire."""

    name: str | None
    data: dict[str, Any]
    numbered: bool = True

    @property
    def text(self) -> str:
        """The text of a piece; empty for every other event."""
        return str(self.data["text"]) if self.name is None else ""


@dataclass(slots=True)
class Times:
    """The moments of a life, by the monotonic clock."""

    asked: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None


@dataclass(slots=True, eq=False, repr=False)
class Generation:
    """Who asked, what state it is in, which events there are. Lives in the event loop alone."""

    id: str
    asked: GenerateRequest | None  # None: made from a record
    visitor: Visitor
    info: ModelInfo
    continuations: int = 0  # how often it was continued, this time included
    replays: int | None = None  # the record's seq
    call: Call | None = None  # how it came over /v1
    recorded: list[dict[str, Any]] = field(default_factory=list)  # messages, where asked is None
    created: int = 0  # seconds since 1970, when it was accepted first
    text: Text = field(default_factory=Text)
    state: State = State.ACCEPTING
    accepted: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    request: Request | None = None  # known once accepted
    prompt_tokens: int | None = None
    reused_tokens: int = 0  # of the prompt's, computed for an earlier request
    waited: float = 0.0  # seconds for which it sat out for what its schema allows
    share: float = 0.0  # of the backend's memory, once it runs
    entry: Entry | None = None
    events: list[Event] = field(default_factory=list)
    followers: set[Follower] = field(default_factory=set)
    lives_on: bool = False  # goes on for a while without a listener
    ending: FinishReason | None = None  # somebody wants it to end like this
    failure: MiniVaultError | None = None  # why it must end as an error
    finish_reason: FinishReason | None = None
    made_by: Mapping[str, Any] = field(
        default_factory=dict
    )  # what its record's engine says besides
    drafts: Drafts | None = None
    times: Times = field(default_factory=Times)
    _events_size: int = 0

    def __repr__(self) -> str:
        return f"<Generation {self.id[:8]}… {self.state.value}>"  # never the prompt

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The messages that its prompt was made of; empty for a plain prompt."""
        return self.asked.conversation if self.asked else self.recorded

    @property
    def heard(self) -> bool:
        return bool(self.followers)

    @property
    def ended(self) -> bool:
        return self.state is State.ENDED

    @property
    def unfinished(self) -> bool:
        """Ended, but could go on."""
        return self.finish_reason in UNFINISHED

    @property
    def leaving(self) -> bool:
        """On its way to an end after which it can go on."""
        return not self.ended and self.ending in UNFINISHED

    async def over(self) -> None:
        """Returns when it has ended."""
        with self.followed() as follower:
            async for _ in follower.batches():
                pass

    @property
    def last(self) -> int:
        """The number of the last event."""
        return len(self.events) - 1

    @property
    def size(self) -> int:
        """How many bytes of memory are kept with it."""
        size = _BARE + self._events_size + getsizeof(self.text.said)
        size += getsizeof(self.text.expected)
        size += sum(map(deep_size, self.conversation))
        if self.request:
            size += getsizeof(self.request.prompt) + _TOKEN * len(self.request.tokens or ())
        return size

    def append(self, event: Event) -> None:
        self.events.append(event)
        self._events_size += _BARE_EVENT + deep_size(event.data)
        for follower in self.followers:
            follower.changed.set()

    @contextmanager
    def followed(self) -> Iterator[Follower]:
        """A follower from the first event, closed at the end."""
        follower = self.follow()
        try:
            yield follower
        finally:
            follower.close()

    def follow(self, after: int = -1) -> Follower:
        """A new follower of the events after number `after`; it listens until it is closed."""
        follower = Follower(self, after + 1)
        follower.changed.set()
        self.followers.add(follower)
        return follower


@dataclass(slots=True, eq=False, repr=False)
class Follower:
    """One reader of a generation. Closing it is synchronous, so it can be done while cancelled."""

    generation: Generation
    _next: int  # the number of the event that it takes next
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # there may be something to take
    is_through: bool = False  # whether the last event was taken
    on_close: Callable[[Generation], None] | None = None
    _position: int | None = None  # in the queue, and the one that was told last
    _told: int | None = None

    async def batches(self) -> AsyncIterator[list[tuple[int, Event]]]:
        """All events that are there, then all that have come since, until the last one."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            batch = self.take()
            if batch:
                yield batch
            if self.is_through:
                return

    def waits_at(self, position: int) -> None:
        """Tells the place in the queue with the next batch; 1 is the next to run."""
        if position != self._position:
            self._position = position
            self.changed.set()

    def close(self) -> None:
        if self in self.generation.followers:
            self.generation.followers.discard(self)
            if self.on_close:
                self.on_close(self.generation)

    def take(self) -> list[tuple[int, Event]]:
        """What has come since the last time; empty if nothing has."""
        generation, text = self.generation, self.generation.text
        proven = not text.expected or text.proven
        self.is_through = generation.state is State.ENDED
        if self.is_through and not proven:
            self._next = len(generation.events)
            return list(enumerate(generation.events))[-1:]
        # Nothing is shown before all that the log holds of the text has been made again. And a
        # reader may know of more events than a generation has that is made again: it waits.
        end = max(self._next, len(generation.events) if proven else 0)
        batch = list(enumerate(generation.events[self._next : end], start=self._next))
        self._next = end
        if generation.state is State.WAITING and self._position != self._told:
            self._told = self._position
            batch.append((-1, Event("queued", {"position": self._position}, numbered=False)))
        return batch


async def batches(
    followers: Sequence[Follower],
) -> AsyncIterator[tuple[int, list[tuple[int, Event]]]]:
    """The batches of several followers as they come, each with its follower's place; to the last
    event of all. Nothing else may read them.
    """
    changed = asyncio.Event()
    changed.set()
    for each in followers:
        each.changed = changed
    through = False
    while not through:
        await changed.wait()
        changed.clear()
        for place, each in enumerate(followers):
            if batch := each.take():
                yield place, batch
        through = all(each.is_through for each in followers)


def deep_size(value: Any) -> int:
    """The bytes that a value of JSON takes, with all that is in it."""
    size = getsizeof(value)
    within = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for each in within:
            size += deep_size(each) if isinstance(each, dict | list | tuple) else getsizeof(each)
    return size
