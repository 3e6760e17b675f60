"""How a generation's end is told in OpenAI's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.generations import Event, Generation
from minivault.web.openai.envelope import wrapped

DONE = b"data: [DONE]\n\n"

_WHY = {
    "cancelled": "the generation was stopped before its end",
    "disconnected": "nobody listened to the generation any more, and it was ended",
    "interrupted": "the server shut down before the end of the text; with minivault.resume as "
    "Last-Event-ID the same request goes on where it was",
    "gone": "this server no longer has this text, and cannot make the same one again",
}


def finish_of(event: Event) -> str | None:
    """The finish reason of a last event. Typed clients know only a few."""
    reason = event.data.get("finish_reason")
    return reason if reason in ("stop", "length") else None


def failure_of(event: Event) -> dict[str, Any] | None:
    """The error that a last event tells; None for every other event."""
    if event.name == "failed":
        told = event.data["error"]
        return wrapped(told["message"], type="server_error", code=f"{told['type']}_failed")
    if event.name == "gone":
        return wrapped(_WHY["gone"], code="gone")
    if event.name == "stopped":
        reason = event.data["finish_reason"]
        return wrapped(_WHY[reason], type="server_error", code=reason)
    return None


def usage_of(generations: Sequence[Generation]) -> dict[str, Any]:
    """Tokens of ended generations; those of one prompt count once."""
    prompts = {each.request.prompt if each.request else "": each for each in reversed(generations)}
    asked = sum(each.prompt_tokens or 0 for each in prompts.values())
    made = sum(each.text.tokens for each in generations)
    return {
        "prompt_tokens": asked,
        "completion_tokens": made,
        "total_tokens": asked + made,
        "prompt_tokens_details": {
            "cached_tokens": sum(each.reused_tokens for each in prompts.values())
        },
    }


def ours_of(generation: Generation, *, chat: bool) -> dict[str, Any]:
    """What only MiniVault tells of a text; `chat`: of one that continues a conversation."""
    end = generation.events[-1].data
    request, call = generation.request, generation.call
    ours: dict[str, Any] = {"id": generation.id}
    if request:
        ours |= {"seed": request.seed, "params": request.params.model_dump(mode="json")}
    ours |= {name: end[name] for name in ("finish_reason", "receipt", "timings") if name in end}
    if call and call.ignored:
        ours["ignored"] = list(call.ignored)
    if chat and not generation.info.chat:
        ours["template"] = "plain"
    if end.get("resumable"):
        ours["resume"] = f"{generation.id}.{generation.last - 1}"
    return ours
