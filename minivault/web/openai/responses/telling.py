"""A response as an object, and as the events of a stream.

The events are a pure function of the generation's: a piece number k has the sequence number 3 + k,
four events come before the first one, and four after the last.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from minivault.generations import Event, Follower, Generation
from minivault.schemas import FinishReason
from minivault.web.openai.ending import DONE, failure_of, ours_of, usage_of
from minivault.web.openai.shapes import Chat

BEFORE = 4  # events before the first piece of text

_STATUS = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}


def response_of(generation: Generation) -> dict[str, Any]:
    """The whole object, also of one that is not through."""
    request, call = generation.request, generation.call
    assert request is not None
    assert call is not None
    params, private = request.params, call.private
    status = status_of(generation)
    failure = failure_of(generation.events[-1]) if status == "failed" else None
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
        "output": [_item(generation, status)] if generation.text.said or generation.ended else [],
        "parallel_tool_calls": True,
        "previous_response_id": private.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": params.temperature,
        "text": {"format": params.response_format or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": params.top_logprobs,
        "top_p": params.top_p,
        "truncation": "disabled",
        "usage": _usage(generation) if generation.ended else None,
        "user": private.get("user"),
        "minivault": ours_of(generation, chat=True),
    }


def status_of(generation: Generation) -> str:
    """In OpenAI's words. What was interrupted can go on, and does when it is asked for."""
    if not generation.ended or generation.finish_reason is None:
        return "in_progress" if generation.times.started else "queued"
    return _STATUS.get(generation.finish_reason, "incomplete")


class Events:
    """The stream of one response, from behind the event with the sequence number `after`."""

    def __init__(self, follower: Follower, after: int = -1) -> None:
        self._follower = follower
        self._generation = follower.generation
        self._after = after
        self._sent = after

    async def blocks(self) -> AsyncIterator[bytes]:
        """All that is left. Ends with an event that says how it ended, and [DONE]."""
        opening = b"".join(map(self._block, self._opening()))
        if opening:
            yield opening
        async for batch in self._follower.batches():
            parts = []
            for number, event in batch:
                if event.name is None and event.text:
                    parts.append(self._block(self._delta(number, event)))
                elif event.name in ("done", "failed", "stopped", "gone"):
                    parts += map(self._block, self._ending(number, event))
            yield b"".join(parts)
        yield DONE

    def keep_alive(self) -> bytes:
        """What was said last of its state, again; it moves no reader's place."""
        told = {"response": response_of(self._generation)}
        return _encoded("response.in_progress", max(1, self._sent), told)

    def _opening(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        empty = response_of(self._generation) | {"status": "in_progress", "output": []}
        empty |= {"usage": None, "error": None, "incomplete_details": None}
        ours = empty["minivault"].items()
        empty["minivault"] = {k: v for k, v in ours if k in ("id", "seed", "params", "ignored")}
        yield "response.created", 0, {"response": empty}
        yield "response.in_progress", 1, {"response": empty}
        item = _item(self._generation, "in_progress") | {"content": []}
        yield "response.output_item.added", 2, {"output_index": 0, "item": item}
        yield "response.content_part.added", 3, self._part({"part": _content("", [])})

    def _delta(self, number: int, event: Event) -> tuple[str, int, dict[str, Any]]:
        logprobs = _logprobs(event.data.get("logprobs", []))
        told = self._part({"delta": event.text, "logprobs": logprobs})
        return "response.output_text.delta", BEFORE - 1 + number, told

    def _ending(self, number: int, event: Event) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """`number` is one more than that of the last piece."""
        generation = self._generation
        at = BEFORE - 1 + number
        failure = failure_of(event)
        if failure and generation.finish_reason is not FinishReason.CANCELLED:
            whole = response_of(generation) | {"status": "failed"}
            error = {name: failure["error"][name] for name in ("code", "message")}
            yield "response.failed", at, {"response": whole | {"error": error}}
            return
        text, entries = generation.text.said, _logprobs(generation.text.logprobs)
        part = _content(text, entries)
        yield "response.output_text.done", at, self._part({"text": text, "logprobs": entries})
        yield "response.content_part.done", at + 1, self._part({"part": part})
        whole = response_of(generation)
        item = whole["output"][0]
        yield "response.output_item.done", at + 2, {"output_index": 0, "item": item}
        name = "completed" if whole["status"] == "completed" else "incomplete"
        yield f"response.{name}", at + 3, {"response": whole}

    def _part(self, told: dict[str, Any]) -> dict[str, Any]:
        place = {"item_id": f"msg_{self._generation.id}", "output_index": 0, "content_index": 0}
        return place | told

    def _block(self, event: tuple[str, int, dict[str, Any]]) -> bytes:
        name, number, told = event
        if number <= self._after:
            return b""
        self._sent = number
        return _encoded(name, number, told)


def _encoded(name: str, number: int, told: dict[str, Any]) -> bytes:
    data = json.dumps({"type": name, "sequence_number": number, **told}, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode("ascii")


def _item(generation: Generation, status: str) -> dict[str, Any]:
    whole = {"completed": "completed", "in_progress": "in_progress", "queued": "in_progress"}
    return {
        "id": f"msg_{generation.id}",
        "type": "message",
        "status": whole.get(status, "incomplete"),
        "role": "assistant",
        "content": [_content(generation.text.said, _logprobs(generation.text.logprobs))],
    }


def _content(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _logprobs(entries: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Chat().logprobs(entries, 0)["content"]
    return found


def _usage(generation: Generation) -> dict[str, Any]:
    usage = usage_of([generation])
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
