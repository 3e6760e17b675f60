"""A response as an object, and as the events of a stream.

The events are a pure function of the generation's: a piece number k has the sequence number 3 + k,
four events come before the first one, and four after the last. Of an answer that is taken apart
a piece may make several events, or none: the first one of piece k has the number 64 * k.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from minivault.background import in_thread
from minivault.generations import Event, Follower, Generation
from minivault.schemas import FinishReason
from minivault.web.openai.ending import DONE, failure_of, ours_of, usage_of
from minivault.web.openai.parts import Answer, answer_of, slices
from minivault.web.openai.responses.items import Items, Told
from minivault.web.openai.shapes import Chat, Entries

Numbered = tuple[str, int, dict[str, Any]]
"""An event's name, its sequence number and its data."""

BEFORE = 4  # events before the first piece of text
STEP = 64  # numbers for the events of one piece of an answer that is taken apart

_STATUS = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}


async def whole_response(generation: Generation) -> dict[str, Any]:
    """The whole object, also of one that is not through."""
    answer = await answer_of(generation)
    if answer is None:
        return response_of(generation)
    items = Items(generation)

    def take(first: int, last: int) -> None:
        for number in range(first, last + 1):
            list(items.take(answer.at(number), _entries(generation.events[number])))

    taken = 0
    while True:
        ended, last = generation.ended, generation.last
        await in_thread(take, taken + 1, last)
        taken = last
        if ended or not generation.ended:
            break  # else it has ended meanwhile, and its status would say so
    if ended:
        list(items.take(answer.end(generation.last)))
        list(items.end(_item_status(status_of(generation))))
    return response_of(generation, items.output)


def response_of(
    generation: Generation, output: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The same; `output`: its items, where the answer was taken apart."""
    request, call = generation.request, generation.call
    assert request is not None
    assert call is not None
    params, private = request.params, call.private
    usage = None
    if generation.ended:
        counted = usage_of([generation])
        usage = {
            "input_tokens": counted["prompt_tokens"],
            "input_tokens_details": counted["prompt_tokens_details"],
            "output_tokens": counted["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counted["total_tokens"],
        }
    status = status_of(generation)
    failure = failure_of(generation.events[-1]) if status == "failed" else None
    format = params.response_format or {"type": "text"}
    calls = format if format["type"] == "calls" else None
    if output is None:
        said = generation.text.said or generation.ended
        output = [_item(generation, status)] if said else []
    error = {name: failure["error"][name] for name in ("code", "message")} if failure else None
    return {
        "id": f"resp_{generation.id}",
        "object": "response",
        "created_at": generation.created,
        "status": status,
        "background": bool(private.get("background")),
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": private.get("instructions"),
        "max_output_tokens": private.get("max_output_tokens"),
        "metadata": private.get("metadata") or {},
        "model": generation.info.name,
        "output": output,
        "parallel_tool_calls": calls["parallel"] if calls else True,
        "previous_response_id": private.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": params.temperature,
        "text": {"format": calls.get("text", {"type": "text"}) if calls else format},
        "tool_choice": _choice(calls) if calls else "auto",
        "tools": [{"type": "function", **each} for each in calls["tools"]] if calls else [],
        "top_logprobs": params.top_logprobs,
        "top_p": params.top_p,
        "truncation": "disabled",
        "usage": usage,
        "user": private.get("user"),
        "minivault": ours_of(generation, chat=True),
    }


def status_of(generation: Generation) -> str:
    """In OpenAI's words. What was interrupted can go on, and does when it is asked for."""
    if not generation.ended or generation.finish_reason is None:
        return "in_progress" if generation.times.started else "queued"
    return _STATUS.get(generation.finish_reason, "incomplete")


class Events:
    """The stream of one response, from behind the event with the sequence number `after`.

    `answer`: what takes it apart; None for plain text.
    """

    def __init__(self, follower: Follower, after: int = -1, answer: Answer | None = None) -> None:
        self._follower = follower
        self._generation = follower.generation
        self._after = after
        self._sent = after
        self._answer = answer
        self._items = Items(self._generation)
        self._next = 1  # event that was not taken apart

    async def blocks(self) -> AsyncIterator[bytes]:
        """All that is left. Ends with an event that says how it ended, and [DONE]."""
        opening = b"".join(map(self._block, self._opening()))
        if opening:
            yield opening
        async for batch in self._follower.batches():
            before = batch[0][0] - 1
            if self._answer and self._answer.is_much(before):  # all of it was heard
                await in_thread(list, self._taken_apart(before, self._answer))
            async for events in slices(batch):
                if self._answer:
                    await self._answer.ready(events)
                parts = [part for number, event in events for part in self._told(number, event)]
                if any(parts):
                    yield b"".join(parts)
        yield DONE

    def _told(self, number: int, event: Event) -> Iterator[bytes]:
        if event.name in ("done", "failed", "stopped", "gone"):
            yield from map(self._block, self._ending(number, event))
        elif event.name is None and self._answer:
            yield from map(self._block, self._taken_apart(number, self._answer))
        elif event.name is None and event.text:
            logprobs = _logprobs(event.data.get("logprobs", []))
            told = self._part({"delta": event.text, "logprobs": logprobs})
            yield self._block(("response.output_text.delta", BEFORE - 1 + number, told))

    def keep_alive(self) -> bytes:
        """What was said last of its state, again; it moves no reader's place."""
        output = self._items.output if self._answer else None
        told = {"response": response_of(self._generation, output)}
        return _encoded("response.in_progress", max(1, self._sent), told)

    def _opening(self) -> Iterator[Numbered]:
        empty = response_of(self._generation, []) | {"status": "in_progress"}
        empty |= {"usage": None, "error": None, "incomplete_details": None}
        ours = empty["minivault"].items()
        empty["minivault"] = {k: v for k, v in ours if k in ("id", "seed", "params", "ignored")}
        yield "response.created", 0, {"response": empty}
        yield "response.in_progress", 1, {"response": empty}
        if self._answer is None:
            item = _item(self._generation, "in_progress") | {"content": []}
            yield "response.output_item.added", 2, {"output_index": 0, "item": item}
            yield "response.content_part.added", 3, self._part({"part": _content("", [])})

    def _taken_apart(self, number: int, answer: Answer) -> Iterator[Numbered]:
        """The events of all pieces up to this one; those that the reader has are left out later."""
        for each in range(self._next, number + 1):
            told = self._items.take(answer.at(each), _entries(self._generation.events[each]))
            yield from _numbered(told, STEP * each)
        self._next = max(self._next, number + 1)

    def _ending(self, number: int, event: Event) -> Iterator[Numbered]:
        """`number` is one more than that of the last piece."""
        generation, answer = self._generation, self._answer
        at = STEP * number if answer else BEFORE - 1 + number
        failure = failure_of(event)
        if failure and generation.finish_reason is not FinishReason.CANCELLED:
            whole = response_of(generation, self._items.output if answer else None)
            error = {name: failure["error"][name] for name in ("code", "message")}
            yield "response.failed", at, {"response": whole | {"status": "failed", "error": error}}
            return
        if answer:
            yield from self._taken_apart(number - 1, answer)
            told = [*self._items.take(answer.end(number))]
            told += self._items.end(_item_status(status_of(generation)))
            whole = response_of(generation, self._items.output)
        else:
            whole = response_of(generation)
            (item,) = whole["output"]
            (content,) = item["content"]
            done = {"text": content["text"], "logprobs": content["logprobs"]}
            told = [
                ("output_text.done", self._part(done)),
                ("content_part.done", self._part({"part": content})),
                ("output_item.done", {"output_index": 0, "item": item}),
            ]
        name = "completed" if whole["status"] == "completed" else "incomplete"
        yield from _numbered([*told, (name, {"response": whole})], at)

    def _part(self, told: dict[str, Any]) -> dict[str, Any]:
        place = {"item_id": f"msg_{self._generation.id}", "output_index": 0, "content_index": 0}
        return place | told

    def _block(self, event: Numbered) -> bytes:
        name, number, told = event
        if number <= self._after:
            return b""
        self._sent = number
        return _encoded(name, number, told)


def _numbered(told: Iterable[Told], first: int) -> Iterator[Numbered]:
    for number, (name, each) in enumerate(told, first):
        yield f"response.{name}", number, each


def _encoded(name: str, number: int, told: dict[str, Any]) -> bytes:
    data = json.dumps({"type": name, "sequence_number": number, **told}, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode("ascii")


def _item(generation: Generation, status: str) -> dict[str, Any]:
    return {
        "id": f"msg_{generation.id}",
        "type": "message",
        "status": _item_status(status),
        "role": "assistant",
        "content": [_content(generation.text.said, _logprobs(generation.text.logprobs))],
    }


def _item_status(status: str) -> str:
    """The status of the last item of a response with that status."""
    known = {"completed": "completed", "in_progress": "in_progress", "queued": "in_progress"}
    return known.get(status, "incomplete")


def _choice(calls: dict[str, Any]) -> Any:
    choice = calls["choice"]
    return choice if choice in ("auto", "required") else {"type": "function", "name": choice}


def _entries(event: Event) -> Entries:
    found: Entries = event.data.get("logprobs", ())
    return found


def _content(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _logprobs(entries: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Chat().logprobs(entries, 0)["content"]
    return found
