"""From what a client asked to what a backend gets: prompt counted, max_tokens cut, seed drawn."""

from __future__ import annotations

import secrets
from typing import Any

from minivault.backends.base import Backend, Request
from minivault.errors import FieldError, InvalidRequest
from minivault.schemas import MAX_SEED, EffectiveParameters, GenerateRequest


def draw_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(MAX_SEED + 1)


def resolve(
    asked: GenerateRequest, seed: int, backend: Backend, caller: str = ""
) -> tuple[Request, int | None]:
    """The request as the backend gets it, and how many tokens its prompt has (None: not countable).

    Any thread; takes as long as the tokenizer needs. Raises InvalidRequest.
    """
    context = backend.info.context_length
    if "max_tokens" in asked.model_fields_set:  # the default fits every context
        _check_max_tokens(asked.max_tokens, context)
    prompt = _prompt(asked, backend)
    count = getattr(backend, "count_tokens", None)
    tokens: int | None = count(prompt) if count else None
    if tokens == 0:
        raise InvalidRequest([FieldError("prompt", "has no token that this model knows")])
    if tokens is not None and tokens >= context:
        raise InvalidRequest([FieldError("prompt", _too_long(tokens, context))])
    left = context - (tokens or 0)
    return Request(prompt, _effective(asked, left), seed, caller), tokens


def share_of(request: Request, prompt_tokens: int | None, backend: Backend) -> float:
    """The part of the backend's memory that this may come to take; 0 where nobody measures it.

    Raises InvalidRequest for one that could never be held.
    """
    measure = getattr(backend, "share", None)
    share: float = measure(request, prompt_tokens or 0) if measure else 0.0
    if share > 1:
        message = (
            f"with this prompt needs {share:.2g} times the memory that the server has for keys and "
            "values (--kv-memory); ask for fewer"
        )
        raise InvalidRequest([FieldError("max_tokens", message)])
    return share


def _prompt(asked: GenerateRequest, backend: Backend) -> str:
    if asked.prompt is not None:
        return asked.prompt
    render: Any = getattr(backend, "render", None)
    if not backend.info.chat or render is None:
        message = f"{backend.info.name} has no chat template; send the text as prompt"
        raise InvalidRequest([FieldError("messages", message)])
    messages = [message.model_dump() for message in asked.messages or []]
    return str(render(messages))


def _effective(asked: GenerateRequest, left: int) -> EffectiveParameters:
    values = asked.model_dump(exclude={"prompt", "messages", "key", "seed", "max_tokens"})
    return EffectiveParameters(
        max_tokens=min(asked.max_tokens, left), max_tokens_requested=asked.max_tokens, **values
    )


def _check_max_tokens(requested: int, context: int) -> None:
    if requested > context:
        message = f"must be from 1 to {context}, the context of this model"
        raise InvalidRequest([FieldError("max_tokens", message)])


def _too_long(tokens: int, context: int) -> str:
    return (
        f"has {tokens} tokens; this model's context is {context}, so {context - 1} fit "
        "and leave room for one more"
    )
