"""Reads what an OpenAI-compatible server streams, of texts and of conversations."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minivault.backends.base import Finish, Logprobs, Piece, TokenLogprob
from minivault.errors import BackendFailed, Lost
from minivault.schemas import FinishReason


@dataclass(frozen=True, slots=True)
class Said:
    """Some text of a stream, with the ids of its tokens where the server tells them."""

    piece: Piece
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()


async def items(lines: AsyncIterator[str], most: int) -> AsyncGenerator[Said | Finish, None]:
    """What a stream says, with at most so many alternatives for a token, and why it ended.

    Raises Lost for a stream that breaks off, or is none.
    """
    reason = None
    usage: dict[str, int] = {}
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                raise Lost("an upstream server failed in the middle of a text")
            for choice in chunk["choices"]:
                reason = choice.get("finish_reason") or reason
                if said := _said(choice, chunk.get("prompt_token_ids") or (), most):
                    yield said
            usage = chunk.get("usage") or usage
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Lost(f"an upstream server sent what is no completion ({error!r})") from error
    if reason is None:
        raise Lost("an upstream server ended a text without saying why")
    ended = FinishReason.LENGTH if reason == "length" else FinishReason.STOP
    yield Finish(ended, usage.get("completion_tokens"), usage.get("prompt_tokens"))


def _said(choice: Mapping[str, Any], prompt_ids: Any, most: int) -> Said | None:
    delta = choice.get("delta")
    text = choice["text"] if delta is None else delta.get("content") or ""
    if delta and (delta.get("reasoning_content") or delta.get("reasoning")):
        raise BackendFailed(
            "the upstream server keeps what its model thinks from the text; "
            "start it without a reasoning parser"
        )
    ids = tuple(choice.get("token_ids") or ())
    prompt_ids = tuple(choice.get("prompt_token_ids") or prompt_ids)
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
        likely = (TokenLogprob(*each) for each in (top or {}).items())
        yield Logprobs(TokenLogprob(token, value), _likeliest(likely, most))


def _token(told: Mapping[str, Any]) -> TokenLogprob:
    spelled = told.get("bytes")
    return TokenLogprob(told["token"], told["logprob"], bytes(spelled) if spelled else None)


def _likeliest(tokens: Iterator[TokenLogprob], most: int) -> tuple[TokenLogprob, ...]:
    return tuple(sorted(tokens, key=lambda each: -each.logprob)[:most])
