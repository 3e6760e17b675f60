"""From what a client asked to what a backend gets: prompt counted, max_tokens cut, seed drawn."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from minivault.backends import optional
from minivault.backends.base import Backend, Rendered, Request
from minivault.errors import FieldError, InvalidRequest
from minivault.schemas import MAX_SEED, EffectiveParameters, GenerateRequest
from minivault.vault import Record

# Began the prompts of conversations in the records of version 0.1, whose special tokens were read.
_OLD_MARK = "\ufdd0"


def draw_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(MAX_SEED + 1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as the backend gets it. `prompt_tokens`: None if nobody can count them."""

    request: Request
    prompt_tokens: int | None
    share: float  # of the backend's memory, that it may come to take; 0 if nobody measures it


def prepare(asked: GenerateRequest, seed: int, backend: Backend, caller: str = "") -> Prepared:
    """Decides all that is open. Any thread; takes as long as the tokenizer needs.

    Raises InvalidRequest.
    """
    context = backend.info.context_length
    # The default fits every context; who names a number is told if it cannot be.
    if "max_tokens" in asked.model_fields_set and asked.max_tokens > context:
        message = f"must be from 1 to {context}, the context of this model"
        raise InvalidRequest([FieldError("max_tokens", message)])
    prompt = _prompt(asked, backend)
    tokens, count = optional.tokenize(backend, prompt)
    if count == 0:
        raise InvalidRequest([FieldError("prompt", "has no token that this model knows")])
    if count is not None and count >= context:
        message = (
            f"has {count} tokens; this model's context is {context}, so {context - 1} fit "
            "and leave room for one more"
        )
        raise InvalidRequest([FieldError("prompt", message)])
    params = _effective(asked, context - (count or 0))
    return prepare_again(Request(prompt, params, seed, caller, tokens), count, backend)


def prepare_again(request: Request, prompt_tokens: int | None, backend: Backend) -> Prepared:
    """The same for a request that was decided before. Any thread.

    Raises InvalidRequest for one that the backend's memory could never hold.
    """
    share = optional.share(backend, request, prompt_tokens or 0)
    if share > 1:
        message = (
            f"with this prompt needs {share:.2g} times the memory that the server has for keys and "
            "values (--kv-memory); ask for fewer"
        )
        raise InvalidRequest([FieldError("max_tokens", message)])
    return Prepared(request, prompt_tokens, share)


def _prompt(asked: GenerateRequest, backend: Backend) -> str:
    if asked.prompt is not None:
        return asked.prompt
    messages = [message.model_dump() for message in asked.messages or []]
    prompt = optional.render(backend, messages)
    if prompt is None:
        message = f"{backend.info.name} has no chat template; send the text as prompt"
        raise InvalidRequest([FieldError("messages", message)])
    return prompt


def recorded_prompt(record: Record) -> str:
    """The prompt of a record, to be given to a backend again; of a conversation as `Rendered`."""
    prompt, messages = record.prompt or "", record.messages
    if prompt.startswith(_OLD_MARK) and (messages or "replays" in record.fields):
        return Rendered(prompt.removeprefix(_OLD_MARK), [{**each, "at": []} for each in messages])
    whole = bool(messages) and all(_has_places(each, len(prompt)) for each in messages)
    return Rendered(prompt, messages) if whole else prompt


def _has_places(message: dict[str, Any], length: int) -> bool:
    """Whether a message says where in a prompt it stands. What lies in a log may be anything."""
    try:
        return all(0 <= begin < end <= length for begin, end in message["at"])
    except (KeyError, TypeError, ValueError):
        return False


def _effective(asked: GenerateRequest, left: int) -> EffectiveParameters:
    values = asked.model_dump(exclude={"prompt", "messages", "key", "seed", "max_tokens"})
    return EffectiveParameters(
        max_tokens=min(asked.max_tokens, left), max_tokens_requested=asked.max_tokens, **values
    )
