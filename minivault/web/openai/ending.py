"""How a generation's end is told in OpenAI's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivault.generations import Event, Generation
from minivault.web.openai.envelope import wrapped

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
    prompts = {
        each.request.prompt if each.request else "": each.prompt_tokens or 0 for each in generations
    }
    asked = sum(prompts.values())
    made = sum(each.text.tokens for each in generations)
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
