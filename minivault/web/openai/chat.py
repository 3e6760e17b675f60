"""POST /v1/chat/completions: what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from minivault.backends.base import ModelInfo
from minivault.errors import FieldError, InvalidRequest, Unsupported
from minivault.text_request import Call, Turn
from minivault.web.openai.asked import Asked, Choice, check_count, key_of, limit, text_request
from minivault.web.openai.calls import RIGHT as CALLS
from minivault.web.openai.calls import CallingFields, earlier_call
from minivault.web.openai.fields import INSTEAD, Role, read

DOOR = "openai.chat"
EXAMPLE = '{"messages": [{"role": "user", "content": "Hello"}]}'
MOST_MESSAGES = 1000

_RIGHT = {
    **CALLS,
    "messages": f"must be a list of 1 to {MOST_MESSAGES} messages, each with a role and a content",
    "messages.role": "must be system, developer, user, assistant or tool",
    "messages.content": "must be a string, or a list of parts of type text",
    "messages.name": "must be a string",
    "messages.tool_calls": "must be a list of calls",
    "messages.tool_call_id": "must be a string",
    "logprobs": "must be true or false; top_logprobs says how many alternatives",
}


class Said(BaseModel):
    """One message as it comes."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatFields(CallingFields):
    """The body."""

    instead = {
        **INSTEAD,
        **dict.fromkeys(("system", "instructions"), "it goes as the first message, of role system"),
    }

    messages: list[Said] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=-1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)


def read_chat(
    data: Mapping[str, Any], info: ModelInfo, most_choices: int, key: str | None
) -> tuple[ChatFields, Asked]:
    """The fields, and what they come to. Raises InvalidRequest."""
    fields, ignored = read(data, ChatFields, _RIGHT)
    if fields.top_logprobs and not fields.logprobs:
        message = "needs logprobs: true beside it"
        raise InvalidRequest([FieldError("top_logprobs", message)])
    check_count(fields.n, most_choices)
    context = info.context_length
    most = limit([fields.max_tokens, fields.max_completion_tokens], context, context)
    if most == 0:
        field = "max_tokens" if fields.max_tokens == 0 else "max_completion_tokens"
        raise InvalidRequest([FieldError(field, "must be at least 1; -1 is no limit")])
    values = fields.sampling(info.defaults) | {
        **fields.calling,
        "turns": turns_of(fields.messages),
        "max_tokens": most,
        "logprobs": fields.logprobs,
        "top_logprobs": fields.top_logprobs or 0,
    }
    choices = [
        Choice(
            text_request(values | {"seed": seed, "key": key_of(key, index)}),
            Call(DOOR, index, None, ignored, fields.private),
        )
        for index, seed in enumerate(fields.seeds(fields.n))
    ]
    return fields, Asked(choices, fields.stream, fields.wants_usage, ignored)


def turns_of(messages: Sequence[Said]) -> list[Turn]:
    """The messages as chat templates know them. Raises InvalidRequest."""
    return [_turn(f"messages.{number}", message) for number, message in enumerate(messages)]


def _turn(place: str, said: Said) -> Turn:
    if said.content is None and said.role != "assistant":
        missing = f"is missing; it {_RIGHT['messages.content']}"
        raise InvalidRequest([FieldError(f"{place}.content", missing)])
    calls = [
        earlier_call(f"{place}.tool_calls.{number}", call)
        for number, call in enumerate(said.tool_calls or ())
    ]
    return Turn(
        role="system" if said.role == "developer" else said.role,
        content=_text(f"{place}.content", said.content),
        name=said.name,
        tool_calls=calls or None,
        tool_call_id=said.tool_call_id,
    )


def _text(place: str, content: str | list[dict[str, Any]] | None) -> str:
    """Parts of text, joined by newlines."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type")
        if kind not in ("text", "input_text", "output_text"):
            message = (
                "must be of type text: this model reads no images, sounds or files"
                if isinstance(kind, str)
                else 'must be an object such as {"type": "text", "text": "Hello"}'
            )
            raise Unsupported([FieldError(f"{place}.{number}.type", message)])
        if not isinstance(part.get("text"), str):
            raise InvalidRequest([FieldError(f"{place}.{number}.text", "must be a string")])
        texts.append(part["text"])
    return "\n".join(texts)
