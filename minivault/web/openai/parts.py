"""An answer taken apart: what was thought, what is said, and which functions are called."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from minivault.backends.base import Part, Reader
from minivault.background import in_thread
from minivault.errors import InvalidRequest
from minivault.generations import Event, Follower, Generation
from minivault.web.openai.calls import check_writable

_DOORS = ("openai.chat", "openai.responses")

SLICE = 256
"""Events that are told at once: others of the loop have their turn in between."""

LETTERS = 4096
"""Letters of them; where one event has more, as a remembered text has, a thread reads it."""

Batch = Sequence[tuple[int, Event]]


async def slices(batch: Batch) -> AsyncIterator[Batch]:
    """A batch in parts that take the event loop a few milliseconds each."""
    begin = letters = 0
    for place, (_, event) in enumerate(batch):
        if place > begin and (place - begin >= SLICE or letters + len(event.text) > LETTERS):
            yield batch[begin:place]
            begin, letters = place, 0
            await asyncio.sleep(0)
        letters += len(event.text)
    yield batch[begin:]


@dataclass(slots=True)
class CallMade:
    """A call, as far as it is written."""

    id: str
    name: str
    arguments: str = ""

    @property
    def turn(self) -> dict[str, Any]:
        """As chat templates get it. Without arguments, where they are none that a client may send:
        cut off, no object, half a character in them.
        """
        try:
            arguments = json.loads(self.arguments)
            check_writable("arguments", arguments)
        except (ValueError, RecursionError, InvalidRequest):
            arguments = {}
        if not isinstance(arguments, dict):
            arguments = {}
        function = {"name": self.name, "arguments": arguments}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(slots=True)
class Message:
    """What parts come to."""

    content: str = ""
    reasoning: str = ""
    calls: list[CallMade] = field(default_factory=list)

    def add(self, generation: Generation, parts: Iterable[Part]) -> None:
        for part in parts:
            if part.kind == "content":
                self.content += part.text
            elif part.kind == "reasoning":
                self.reasoning += part.text
            elif part.kind == "name":
                self.calls.append(CallMade(call_id(generation, part.call), part.text))
            else:
                self.calls[-1].arguments += part.text


class Answer:
    """The answer of one generation, read event by event. By one thread at a time."""

    def __init__(self, generation: Generation, reader: Reader) -> None:
        self.message = Message()  # as far as it was read
        self._generation = generation
        self._reader = reader
        self._next = 1  # behind the start
        self._ahead: deque[tuple[int, Sequence[Part]]] = deque()  # read and not told

    def at(self, number: int) -> Sequence[Part]:
        """The parts that event `number` brings. It depends on those before it, told or not."""
        self._read(number)
        parts: Sequence[Part] = ()
        while self._ahead and self._ahead[0][0] <= number:
            place, told = self._ahead.popleft()
            parts = told if place == number else ()
        return parts

    async def ready(self, batch: Batch) -> None:
        """Reads all up to the end of these events, where that is much in a thread."""
        number = max(number for number, _ in batch)
        if self.is_much(number):
            await in_thread(self._read, number)

    async def catch_up(self, number: int) -> None:
        """Passes over all up to event `number`, where that is much in a thread."""
        if self.is_much(number):
            await in_thread(self.at, number)

    def is_much(self, number: int) -> bool:
        """Whether what was not read up to event `number` would keep the event loop."""
        events = self._generation.events[self._next : number + 1]
        return len(events) > SLICE or sum(len(each.text) for each in events) > LETTERS

    def _read(self, number: int) -> None:
        events = self._generation.events[self._next : number + 1]
        for place, event in enumerate(events, self._next):
            if event.name is None and (parts := self._reader.feed(event.text)):
                self.message.add(self._generation, parts)
                self._ahead.append((place, parts))
        self._next += len(events)

    def end(self, number: int) -> Sequence[Part]:
        """The parts that are certain once the text has ended, with event `number`."""
        self.at(number - 1)
        parts = self._reader.end()
        self.message.add(self._generation, parts)
        return parts


async def answers_of(followers: Sequence[Follower]) -> list[Answer | None]:
    """What reads the answers of these generations, in a thread; None where one is plain text."""
    return [await answer_of(each.generation) for each in followers]


async def answer_of(generation: Generation) -> Answer | None:
    """The same for one."""
    make, request, call = generation.info.reader, generation.request, generation.call
    if make is None or request is None or call is None or call.door not in _DOORS:
        return None
    reader = await in_thread(make, request)
    return Answer(generation, reader) if reader else None


async def message_of(generation: Generation) -> Message:
    """What an answer comes to, as far as it is made; of one that has ended all of it."""
    answer = await answer_of(generation)
    if answer is None:
        return Message(generation.text.said)
    last, ended = generation.last, generation.ended
    await in_thread(answer.at, last)
    if ended:
        answer.end(last)
    return answer.message


def finish_with_calls(finish: str | None, message: Message) -> str | None:
    """The finish reason of an answer, which may be that its calls are waited for."""
    return "tool_calls" if finish == "stop" and message.calls else finish


def call_id(generation: Generation, number: int) -> str:
    """The name of a call: whoever reads the answer again finds the same."""
    return f"call_{sha256(f'{generation.id} {number}'.encode()).hexdigest()[:24]}"


def delta_of(generation: Generation, parts: Sequence[Part]) -> dict[str, Any]:
    """The parts of one event, as a chat's chunk has them."""
    delta: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    for part in parts:
        if part.kind in ("content", "reasoning"):
            name = "content" if part.kind == "content" else "reasoning_content"
            delta[name] = delta.get(name, "") + part.text
        elif part.kind == "name":
            function = {"name": part.text, "arguments": ""}
            id = call_id(generation, part.call)
            calls[part.call] = {"id": id, "type": "function", "function": function}
        else:
            call = calls.setdefault(part.call, {"function": {"arguments": ""}})
            call["function"]["arguments"] += part.text
    if calls:
        delta["tool_calls"] = [{"index": number, **call} for number, call in calls.items()]
    return delta


def whole_message(message: Message) -> dict[str, Any]:
    """A whole answer, as a chat's choice has it."""
    told: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
    if message.reasoning:
        told["reasoning_content"] = message.reasoning
    if message.calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    return told
