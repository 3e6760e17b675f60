"""Iterates a backend for one request, and applies the limits that the backend leaves to us."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from minivault.backends.base import Backend, Finish, Piece, Request
from minivault.schemas import FinishReason
from minivault.sentence_end import SentenceEnd
from minivault.stop_strings import StopStrings
from minivault.vault.record import clean


async def run(backend: Backend, request: Request) -> AsyncGenerator[Piece | Finish, None]:
    """Pieces, and one Finish at the end. Closing it closes the backend's generator.

    A `str` is a piece of one token; lone surrogates become U+FFFD, as they have no UTF-8.
    """
    limits: list[_Limit] = []
    if not backend.info.applies_limits:
        limits.append(_Length(request))
    if request.params.sentence_after:
        limits.append(_WholeSentence(request))
    async with aclosing(backend.generate(request)) as source:
        async for item in source:
            if isinstance(item, Finish):
                yield item
                return
            piece = Piece(item) if isinstance(item, str) else item
            if not piece.text.isascii():
                piece = replace(piece, text=clean(piece.text))
            reason = None
            for limit in limits:
                piece, reached = limit.cut(piece)
                reason = reached or reason
            yield piece
            if reason:
                yield Finish(reason)
                return
    yield Finish(FinishReason.STOP)


class _Limit(Protocol):
    def cut(self, piece: Piece) -> tuple[Piece, FinishReason | None]:
        """What of the next piece belongs to the text, and why the text ends there, if it does."""
        ...


class _Length:
    """Ends at a stop string or at max_tokens; what is held back travels as the piece's tail."""

    def __init__(self, request: Request) -> None:
        self._stops = StopStrings(request.params.stop)
        self._left = request.max_tokens

    def cut(self, piece: Piece) -> tuple[Piece, FinishReason | None]:
        self._left -= piece.tokens
        text = self._stops.push(piece.text)
        if text != piece.text or self._stops.held:
            piece = replace(piece, text=text, tail=self._stops.held + piece.tail)
        if self._stops.matched:
            return piece, FinishReason.STOP
        return piece, FinishReason.LENGTH if self._left <= 0 else None


class _WholeSentence:
    """Ends with a sentence, once the text is as long as was asked for."""

    def __init__(self, request: Request) -> None:
        self._sentence = SentenceEnd(request.params.sentence_after)

    def cut(self, piece: Piece) -> tuple[Piece, FinishReason | None]:
        text = self._sentence.push(piece.text, piece.tokens)
        if not self._sentence.found:
            return piece, None
        return replace(piece, text=text, tail=""), FinishReason.STOP
