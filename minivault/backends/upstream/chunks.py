"""Reads what an OpenAI-compatible server streams, of texts and of conversations."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minivault.backends.base import Finish, Logprobs, Piece, TokenLogprob
from minivault.backends.upstream.bounded import Spoilt
from minivault.errors import BackendFailed
from minivault.schemas import FinishReason


@dataclass(frozen=True, slots=True)
class Said:
    """Some text of a stream, with the ids of its tokens where the server tells them."""

    piece: Piece
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()


async def items(lines: AsyncIterator[str], most: int) -> AsyncGenerator[Said | Finish, None]:
    """What a stream says, with at most so many alternatives for a token, and why it ended.

    Raises Spoilt for a stream that breaks off, or is none.
    """
    reason = None
    counts: tuple[int | None, int | None] = (None, None)
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                raise Spoilt("an upstream server failed in the middle of a text")
            for choice in chunk["choices"]:
                reason = choice.get("finish_reason") or reason
                if said := _said(choice, chunk.get("prompt_token_ids") or (), most):
                    yield said
            if usage := chunk.get("usage"):
                counts = _count(usage, "completion_tokens"), _count(usage, "prompt_tokens")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # Not its words, which may quote what came.
            told = f"an upstream server sent what is no completion ({type(error).__name__})"
            raise Spoilt(told) from error
    if reason is None:
        raise Spoilt("an upstream server ended a text without saying why")
    ended = FinishReason.LENGTH if reason == "length" else FinishReason.STOP
    yield Finish(ended, *counts)


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    if count is not None and not (type(count) is int and count >= 0):
        raise TypeError(name)
    return count


def _said(choice: Mapping[str, Any], prompt_ids: Any, most: int) -> Said | None:
    delta = choice.get("delta")
    text = _text(choice["text"] if delta is None else delta.get("content") or "")
    if delta and (delta.get("reasoning_content") or delta.get("reasoning")):
        raise BackendFailed(
            "the upstream server keeps what its model thinks from the text; "
            "start it without a reasoning parser"
        )
    ids = _ids(choice.get("token_ids") or ())
    prompt_ids = _ids(choice.get("prompt_token_ids") or prompt_ids)
    logprobs = tuple(_logprobs(choice.get("logprobs") or {}, most))
    if not (text or ids or prompt_ids):
        return None
    tokens = len(ids) or len(logprobs) or int(bool(text))
    return Said(Piece(text, tokens, logprobs), ids, prompt_ids)


def _logprobs(told: Mapping[str, Any], most: int) -> Iterator[Logprobs]:
    for each in told.get("content") or ():  # of a conversation
        yield Logprobs(_token(each), _likeliest(map(_token, each.get("top_logprobs") or ()), most))
    tokens = told.get("tokens") or ()
    tops = told.get("top_logprobs") or [None] * len(tokens)
    for token, value, top in zip(tokens, told.get("token_logprobs") or (), tops, strict=False):
        likely = (_scored(*each) for each in (top or {}).items())
        yield Logprobs(_scored(token, value), _likeliest(likely, most))


def _token(told: Mapping[str, Any]) -> TokenLogprob:
    spelled = told.get("bytes")
    return _scored(told["token"], told["logprob"], bytes(spelled) if spelled else None)


def _scored(token: Any, logprob: Any, spelled: bytes | None = None) -> TokenLogprob:
    """Raises TypeError for what could not be recorded."""
    if type(logprob) not in (int, float) or not math.isfinite(logprob):
        raise TypeError("logprob")
    return TokenLogprob(_text(token), float(logprob), spelled)


def _text(told: Any) -> str:
    """A text, with U+FFFD for what has no UTF-8. Raises TypeError for anything else."""
    if not isinstance(told, str):
        raise TypeError("text")
    return told.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _ids(told: Any) -> tuple[int, ...]:
    if not all(type(each) is int for each in told):
        raise TypeError("token_ids")
    return tuple(told)


def _likeliest(tokens: Iterator[TokenLogprob], most: int) -> tuple[TokenLogprob, ...]:
    return tuple(sorted(tokens, key=lambda each: -each.logprob)[:most])
