"""What the engine's thread has said, on its way to those that asked."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minivault.backends.base import Drafts, Logprobs, Piece, TokenLogprob
from minivault.engine.sequence import Output, TokenChoice

if TYPE_CHECKING:
    from minivault.engine.tokenizer import Tokenizer


@dataclass(eq=False, slots=True)
class Outputs:
    """What the engine has said to one request and was not read yet. The event loop's alone."""

    _items: deque[Output | Exception] = field(default_factory=deque)
    _waiter: asyncio.Future[None] | None = None

    def put(self, item: Output | Exception) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Output:
        """The next output. Raises the error that came in its place or with it."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if isinstance(item, Exception):
            raise item
        if item.error is not None:
            raise item.error
        return item


def fan_out(outputs: list[Output]) -> None:
    for output in outputs:
        output.sequence.owner.put(output)


def piece_of(output: Output, tokenizer: Tokenizer) -> Piece:
    """What one step brought, as whoever asked for it reads it."""
    tokens = int(output.token_id is not None)
    logprobs = (_logprobs(output.choice, tokenizer),) if output.choice else ()
    scores = (_logprobs(output.score, tokenizer),) if output.score else ()
    sequence = output.sequence
    drafts = Drafts(sequence.drafted, sequence.accepted) if sequence.drafted else None
    return Piece(
        output.text,
        tokens,
        logprobs,
        output.tail,
        scores=scores,
        drafts=drafts,
        reused=sequence.reused,
        waited=sequence.waited,
    )


def first_score(token_id: int, tokenizer: Tokenizer) -> Piece:
    """The score of a prompt's first token, which nothing comes before."""
    return Piece("", 0, scores=(Logprobs(_token(token_id, math.nan, tokenizer)),))


def _logprobs(choice: TokenChoice, tokenizer: Tokenizer) -> Logprobs:
    return Logprobs(
        _token(choice.token_id, choice.logprob, tokenizer),
        tuple(_token(each, logprob, tokenizer) for each, logprob in choice.top),
    )


def _token(token_id: int, logprob: float, tokenizer: Tokenizer) -> TokenLogprob:
    text = tokenizer.token_text(token_id)
    own = tokenizer.token_bytes(token_id) if "\ufffd" in text else None
    return TokenLogprob(text, logprob, own)
