"""What a backend may have besides `info` and `generate`, and what holds where it has not.

The only place that looks for a method of a backend by its name; see `Backend` for what they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minivault.backends.base import Backend, Request
from minivault.background import guarded
from minivault.errors import FieldError, Unsupported
from minivault.text_request import Tools


async def start(backend: Backend) -> None:
    """Returns when it is ready to generate. Raises what its own `start` raises."""
    if method := getattr(backend, "start", None):
        await guarded(method())


async def close(backend: Backend | None) -> None:
    """Frees what it holds. Raises what its own `close` raises."""
    if method := getattr(backend, "close", None):
        await guarded(method())


def lacks(backend: Backend) -> Iterator[str]:
    """What a backend has not, and what that costs, in sentences."""
    name = backend.info.name
    if method := getattr(backend, "lacks", None):
        yield from method()
    if not (getattr(backend, "tokenize", None) or getattr(backend, "count_tokens", None)):
        yield (
            f"{name} has neither tokenize nor count_tokens: prompts longer than its context are "
            "not refused, and records do not say how many tokens a prompt has"
        )
    if backend.info.chat and not getattr(backend, "render", None):
        yield f"{name} says that it chats and has no render: `messages` are refused"


def tokenize(backend: Backend, prompt: str) -> tuple[tuple[int, ...] | None, int | None]:
    """The prompt's tokens and their number, as far as the backend can tell. Any thread."""
    if method := getattr(backend, "tokenize", None):
        tokens = tuple(method(prompt))
        return tokens, len(tokens)
    if method := getattr(backend, "count_tokens", None):
        count = method(prompt)
        return None, None if count is None else int(count)
    return None, None


def tokenize_bare(backend: Backend, text: str) -> Sequence[int] | None:
    """The tokens of a text alone; None if it cannot tell. Any thread."""
    method = getattr(backend, "tokenize_bare", None)
    return list(method(text)) if method else None


def tokenizer_info(backend: Backend) -> Mapping[str, Any]:
    """The names of its special tokens, as tokenizers call them. Any thread."""
    method = getattr(backend, "tokenizer_info", None)
    found: Mapping[str, Any] = method() if method else {}
    return found


def detokenize(backend: Backend, tokens: Sequence[int]) -> str | None:
    """The text of a prompt that came as tokens; None if it cannot read them. Any thread."""
    method = getattr(backend, "detokenize", None)
    return str(method(tokens)) if method else None


def render(
    backend: Backend, messages: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None = None
) -> str | None:
    """The prompt that its chat template makes; None if it has no template. Any thread.

    `told`: what else the template can read. Raises Unsupported where it can be told nothing.
    """
    method = getattr(backend, "render", None) if backend.info.chat else None
    if told and not (method and getattr(backend, "call_format", None)):
        field = "tools" if "tools" in told else "chat_template_kwargs"
        why = "its answers are not read for calls" if method else "it has no chat template"
        message = f"is not supported by {backend.info.name}: {why}; leave it out"
        raise Unsupported([FieldError(field, message)])
    if method is None:
        return None
    prompt: str = method(messages, told) if told else method(messages)
    return prompt


def call_format(
    backend: Backend, prompt: str, tools: Tools, text: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The `response_format` of an answer in which functions may be called. Any thread.

    Raises Unsupported.
    """
    method = getattr(backend, "call_format", None)
    assert method is not None  # `render` was told of the functions by it
    format: dict[str, Any] = method(prompt, tools, text)
    return format


def check_format(backend: Backend, format: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a format that its texts cannot be held to. Any thread."""
    method = getattr(backend, "constrain", None)
    if method is None:
        message = f'must be {{"type": "text"}}: {backend.info.name} constrains no texts'
        raise Unsupported([FieldError("response_format", message)])
    method(format)


def share(backend: Backend, request: Request, prompt_tokens: int) -> float:
    """The part of its memory that a request may come to take; 0 if it measures none. Any thread."""
    method = getattr(backend, "share", None)
    return float(method(request, prompt_tokens)) if method else 0.0


def problem(backend: Backend | None) -> str | None:
    """Why it cannot work now, as far as it can tell. Any thread."""
    method = getattr(backend, "problem", None)
    found: str | None = method() if method else None
    return found


def statistics(backend: Backend | None) -> Mapping[str, float]:
    """Its gauges. Any thread."""
    method = getattr(backend, "statistics", None)
    gauges: Mapping[str, float] = method() if method else {}
    return gauges
