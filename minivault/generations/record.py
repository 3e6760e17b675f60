"""What the vault and the last event say of a generation."""

from __future__ import annotations

import time
from typing import Any

from minivault.backends.base import ModelInfo, Rendered
from minivault.errors import LogUnavailable, MiniVaultError
from minivault.generations.generation import Event, Generation
from minivault.generations.prompt import recorded_private
from minivault.generations.text import Irreproducible
from minivault.metrics import Metrics
from minivault.schemas import FinishReason, Receipt, Timings, Usage
from minivault.text_request import Call, TextRequest
from minivault.vault import Begin, Outcome, Record

EVENT_NAMES = {
    FinishReason.STOP: "done",
    FinishReason.LENGTH: "done",
    FinishReason.CANCELLED: "stopped",
    FinishReason.DISCONNECTED: "stopped",
    FinishReason.INTERRUPTED: "stopped",
    FinishReason.ERROR: "failed",
}


def begin_of(generation: Generation) -> Begin:
    """All that is known when a request is accepted; enough to make its text again."""
    request, info = generation.request, generation.info
    assert request is not None
    if isinstance(request.prompt, Rendered):
        messages = request.prompt.messages
    else:
        messages = generation.conversation
    return Begin(
        id=generation.id,
        prompt=str(request.prompt),
        params=request.params.model_dump(mode="json"),
        seed=request.seed,
        client=generation.visitor.client.value,
        model={"name": info.name, "sha256": info.sha256},
        engine=engine_data(info),
        messages=messages or None,
        continues=generation.id if generation.continuations else None,
        replays=generation.replays,
        call=_call_data(generation, generation.call) if generation.call else {},
    )


def _call_data(generation: Generation, call: Call) -> dict[str, Any]:
    """The record's fields of a request over /v1."""
    asked, request = generation.asked, generation.request
    private = dict(call.private)
    if isinstance(asked, TextRequest) and asked.tokens is not None and request:
        private["tokens"] = list(request.tokens or ())
    data: dict[str, Any] = {"door": call.door, "ignored": list(call.ignored), "private": private}
    if call.group:
        data |= {"group": call.group, "index": call.index}
    return {name: value for name, value in data.items() if value or name == "index"}


def recorded_call(record: Record) -> Call | None:
    """How the request of a record came over /v1; None if it did not."""
    fields = record.fields
    if not isinstance(door := fields.get("door"), str):
        return None
    index, ignored = fields.get("index"), fields.get("ignored")
    return Call(
        door,
        index if isinstance(index, int) else 0,
        fields.get("group"),
        tuple(map(str, ignored)) if isinstance(ignored, list) else (),
        recorded_private(record),
    )


def engine_data(info: ModelInfo) -> dict[str, Any]:
    """The record's `engine`: whatever else the bytes of the text depend on."""
    return {
        **info.engine,
        "tokenizer_sha256": info.tokenizer_sha256,
        "reproducible": info.reproducible,
    }


def outcome_of(generation: Generation, reason: FinishReason) -> Outcome:
    """The rest of the record, once the text has ended."""
    return Outcome(
        response=generation.text.said,
        finish_reason=reason.value,
        usage=usage_of(generation).model_dump(),
        timings=timings_of(generation).model_dump(exclude_none=True),
        events=len(generation.events) + 1,
        error=error_data(generation.failure) if generation.failure else None,
        logprobs=[*generation.text.scores, *generation.text.logprobs] or None,
        engine={**engine_data(generation.info), **generation.made_by}
        if generation.made_by
        else None,
    )


def usage_of(generation: Generation) -> Usage:
    return Usage(
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.text.tokens,
        cached_tokens=generation.reused_tokens,
    )


def timings_of(generation: Generation) -> Timings:
    """Milliseconds since the request was accepted."""
    times, drafts = generation.times, generation.drafts
    first, last, later_tokens = times.first_token, times.last_token, generation.text.tokens - 1
    rate = None
    if first is not None and last is not None and last > first and later_tokens > 0:
        rate = round(later_tokens / (last - first), 2)
    return Timings(
        queue_ms=_ms(times.started, times.asked),
        first_token_ms=_ms(times.first_token, times.asked),
        total_ms=_ms(times.ended or time.monotonic(), times.asked) or 0.0,
        tokens_per_second=rate,
        drafted=drafts.drafted if drafts else None,
        accepted=drafts.accepted if drafts else None,
        schema_ms=round(generation.waited * 1000, 3) or None,
    )


def measure(generation: Generation, metrics: Metrics) -> None:
    """Counts an ended generation."""
    times = generation.times
    ended = times.ended or times.asked
    metrics.finished(
        generation.finish_reason or FinishReason.ERROR,
        generation.visitor.client,
        prompt_tokens=generation.prompt_tokens or 0,
        completion_tokens=generation.text.tokens,
        queue_seconds=(times.started or ended) - times.asked,
        total_seconds=ended - times.asked,
    )


def error_data(error: MiniVaultError) -> dict[str, str]:
    """An error as an event and a record tell it."""
    kind = "backend"
    if isinstance(error, LogUnavailable):
        kind = "log"
    elif isinstance(error, Irreproducible):
        kind = "not_reproducible"
    return {"type": kind, "message": error.detail}


def start_event(generation: Generation) -> Event:
    """The first event."""
    request = generation.request
    assert request is not None
    data = {
        "id": generation.id,
        "model": generation.info.name,
        "seed": request.seed,
        "prompt_tokens": generation.prompt_tokens,
        "params": request.params.model_dump(mode="json"),
    }
    return Event("start", data)


def terminal_event(generation: Generation, receipt: Receipt | None) -> Event:
    """The last event. One that can be resumed has no number: its reader comes again."""
    reason = generation.finish_reason
    assert reason is not None
    data: dict[str, Any] = {"finish_reason": reason.value}
    if reason is FinishReason.INTERRUPTED:
        resumable = generation.info.reproducible
        return Event("stopped", {**data, "resumable": resumable}, numbered=not resumable)
    if not generation.text.proven and reason is not FinishReason.CANCELLED:
        return gone_event()
    if generation.failure:
        data["error"] = error_data(generation.failure)
    data["usage"] = usage_of(generation).model_dump()
    data["timings"] = timings_of(generation).model_dump(exclude_none=True)
    if receipt:
        data["receipt"] = receipt.model_dump()
    return Event(EVENT_NAMES[reason], data)


def in_a_line(generation: Generation, receipt: Receipt | None) -> str:
    """What the terminal says of a generation that has ended; none of its words."""
    reason, usage, timings = generation.finish_reason, usage_of(generation), timings_of(generation)
    assert reason is not None
    made = usage.completion_tokens
    rate = timings.tokens_per_second
    parts = [
        f"line {receipt.seq}" if receipt else "no line",
        f"{made} token{'' if made == 1 else 's'}",
        f"{rate:.0f}/s" if rate else "",
        reason.value,
        f"replay of {generation.replays}"
        if generation.replays
        else generation.visitor.client.value,
    ]
    return "  ".join(part for part in parts if part)


def gone_event() -> Event:
    """Tells that a generation cannot be gone on with."""
    detail = "this server no longer has this text, and cannot make the same one again"
    return Event("gone", {"code": "stream_expired", "detail": detail})


def _ms(moment: float | None, start: float) -> float | None:
    return None if moment is None else round((moment - start) * 1000, 1)
