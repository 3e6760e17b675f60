"""From what a client asked to what a backend gets: prompt counted, max_tokens cut, seed drawn."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minivault.backends import optional
from minivault.backends.base import Backend, Rendered, Request
from minivault.errors import FieldError, InvalidRequest, PromptTooLong, Unsupported
from minivault.schemas import MAX_SEED, EffectiveParameters, GenerateRequest
from minivault.text_request import TextRequest
from minivault.vault import Record

# Began the prompts of conversations in the records of version 0.1, whose special tokens were read.
_OLD_MARK = "\ufdd0"
_NO_PARAMETERS = {"prompt", "messages", "turns", "tokens", "key", "seed", "max_tokens"}
_NO_PARAMETERS |= {"tools", "template"}


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
    # The default fits every context; who names a number is told if it cannot be, or is cut.
    is_cut = isinstance(asked, TextRequest)
    if "max_tokens" in asked.model_fields_set and asked.max_tokens > context and not is_cut:
        message = f"must be from 1 to {context}, the context of this model"
        raise InvalidRequest([FieldError("max_tokens", message)])
    if isinstance(asked, TextRequest):
        _refuse_unknown(asked.logit_bias, backend.info.vocabulary)
    if isinstance(asked, TextRequest) and asked.response_format:
        optional.check_format(backend, asked.response_format)
    prompt, tokens, count = _read(asked, backend)
    if isinstance(asked, TextRequest) and asked.tools:
        format = optional.call_format(backend, prompt, asked.tools, asked.response_format)
        optional.check_format(backend, format)
        asked = asked.model_copy(update={"response_format": format})
    if count == 0:
        raise InvalidRequest([FieldError("prompt", "has no token that this model knows")])
    if count is not None and count >= context:
        raise PromptTooLong(count, context)
    known = count or 0
    request = Request(prompt, _effective(asked, context - known, backend), seed, caller, tokens)
    if is_cut and (share := optional.share(backend, request, known)) > 1:
        fitting = int((known + request.max_tokens) / share) - known
        request = replace(request, params=_effective(asked, max(1, fitting), backend))
    return _fitting(request, count, backend)


def _refuse_unknown(bias: Mapping[int, float], vocabulary: int | None) -> None:
    """A bias of a token that is never drawn would do nothing, and say nothing."""
    if vocabulary is not None and bias and (largest := max(bias)) >= vocabulary:
        message = (
            f"names the token {largest}, but this model draws from {vocabulary} tokens: "
            f"ids from 0 to {vocabulary - 1} can have a bias"
        )
        raise InvalidRequest([FieldError("logit_bias", message)])


def _read(
    asked: GenerateRequest, backend: Backend
) -> tuple[str, tuple[int, ...] | None, int | None]:
    """The prompt, its tokens and their number, as far as the backend can tell."""
    if isinstance(asked, TextRequest) and asked.tokens is not None:
        text, given = _from_tokens(asked.tokens, backend)
        return text, given, len(given)
    prompt = asked.prompt
    if prompt is None:
        told = asked.told if isinstance(asked, TextRequest) else None
        prompt = optional.render(backend, asked.conversation, told)
    if prompt is None and isinstance(asked, TextRequest):
        prompt = plain(asked.conversation)
    if prompt is None:
        message = f"{backend.info.name} has no chat template; send the text as prompt"
        raise InvalidRequest([FieldError("messages", message)])
    return prompt, *optional.tokenize(backend, prompt)


def prepare_again(request: Request, prompt_tokens: int | None, backend: Backend) -> Prepared:
    """The same for a request that was decided before. Any thread. Raises InvalidRequest.

    `prompt_tokens`: None where its record does not say, as that of a server that was killed.
    """
    if prompt_tokens is None and request.tokens is not None:
        prompt_tokens = len(request.tokens)
    elif prompt_tokens is None:
        tokens, prompt_tokens = optional.tokenize(backend, request.prompt)
        request = replace(request, tokens=tokens)
    return _fitting(request, prompt_tokens, backend)


def _fitting(request: Request, prompt_tokens: int | None, backend: Backend) -> Prepared:
    """Raises InvalidRequest for a request that the backend's memory could never hold."""
    share = optional.share(backend, request, prompt_tokens or 0)
    if share > 1:
        message = (
            f"with this prompt needs {share:.2g} times the memory that the server has for keys and "
            "values (--kv-memory); ask for fewer"
        )
        raise InvalidRequest([FieldError("max_tokens", message)])
    return Prepared(request, prompt_tokens, share)


def plain(conversation: Sequence[Mapping[str, Any]]) -> str:
    """What a model without a chat template continues of a conversation: its texts, in lines, and
    the calls of functions in it, as JSON.
    """
    lines = []
    for turn in conversation:
        calls = [each["function"] for each in turn.get("tool_calls") or ()]
        lines += [turn["content"]] if turn["content"] or not calls else []
        lines += [json.dumps(each, ensure_ascii=False) for each in calls]
    return "\n".join(lines)


def _from_tokens(tokens: list[int], backend: Backend) -> tuple[str, tuple[int, ...]]:
    """The prompt that these tokens are, and the tokens. Raises InvalidRequest."""
    info = backend.info
    if not tokens and info.begin is not None:
        tokens = [info.begin]
    if not tokens:
        message = f"must not be empty: {info.name} has no token that a text begins with"
        raise InvalidRequest([FieldError("prompt", message)])
    text = optional.detokenize(backend, tokens)
    if text is None:
        message = f"must be text: {info.name} takes no tokens"
        raise Unsupported([FieldError("prompt", message)])
    return text, tuple(tokens)


def recorded_private(record: Record) -> Mapping[str, Any]:
    """What else of a request over /v1 is as private as its text."""
    found = record.fields.get("private")
    return found if isinstance(found, dict) else {}


def recorded_request(record: Record, params: EffectiveParameters, caller: str = "") -> Request:
    """The request of a record, to be made again."""
    tokens = recorded_private(record).get("tokens")
    ids = tuple(tokens) if isinstance(tokens, list) else None
    return Request(recorded_prompt(record), params, record.seed or 0, caller, ids)


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


def _effective(asked: GenerateRequest, left: int, backend: Backend) -> EffectiveParameters:
    """Where a request is silent, the model's makers count; /v1 has seen to that in its own way."""
    values = asked.model_dump(exclude=_NO_PARAMETERS)
    most = min(asked.max_tokens, left)
    if not isinstance(asked, TextRequest):
        recommended = backend.info.defaults
        values |= {each: recommended[each] for each in recommended.keys() - asked.model_fields_set}
    return EffectiveParameters(
        max_tokens=most,
        max_tokens_requested=asked.max_tokens,
        sentence_after=max(1, most * 3 // 4) if asked.end_at_sentence else 0,
        **values,
    )
