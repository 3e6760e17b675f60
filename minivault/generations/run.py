"""Iterates a backend for one request, and applies the limits that the backend leaves to us."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from minivault.backends.base import Backend, Finish, Piece, Request
from minivault.schemas import FinishReason
from minivault.sentence_end import SentenceEnd
from minivault.stop_strings import StopStrings
from minivault.vault.record import clean


def run(backend: Backend, request: Request) -> AsyncGenerator[Piece | Finish, None]:
    """Pieces, and one Finish at the end. Closing it closes the backend's generator."""
    source = _normalized(backend, request)
    if not backend.info.applies_limits:
        source = _limited(source, request)
    return _ended(source, request) if request.params.sentence_after else source


async def _normalized(backend: Backend, request: Request) -> AsyncGenerator[Piece | Finish, None]:
    """A `str` is a piece of one token; lone surrogates become U+FFFD, as they have no UTF-8."""
    async with aclosing(backend.generate(request)) as source:
        async for item in source:
            if isinstance(item, str):
                item = Piece(item)
            if isinstance(item, Finish):
                yield item
                return
            if not item.text.isascii():
                item = replace(item, text=clean(item.text))
            yield item
    yield Finish(FinishReason.STOP)


async def _limited(
    source: AsyncGenerator[Piece | Finish, None], request: Request
) -> AsyncGenerator[Piece | Finish, None]:
    """Ends at a stop string or at max_tokens; what is held back travels as the piece's tail."""
    stops = StopStrings(request.params.stop)
    tokens = 0
    finish = Finish(FinishReason.STOP)
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Finish):
                finish = item
                break
            tokens += item.tokens
            yield replace(item, text=stops.push(item.text), tail=stops.held + item.tail)
            if stops.matched:
                yield Finish(FinishReason.STOP)
                return
            if tokens >= request.max_tokens:
                finish = Finish(FinishReason.LENGTH)
                break
    yield finish


async def _ended(
    source: AsyncGenerator[Piece | Finish, None], request: Request
) -> AsyncGenerator[Piece | Finish, None]:
    """Ends with a sentence, once the text is as long as was asked for."""
    sentence = SentenceEnd(request.params.sentence_after)
    async with aclosing(source):
        async for item in source:
            if isinstance(item, Piece):
                text = sentence.push(item.text, item.tokens)
                item = replace(item, text=text, tail="") if sentence.found else item
            yield item
            if sentence.found:
                yield Finish(FinishReason.STOP)
                return
