"""A backend that says the prompt again, word by word: for tests, demos and a first look."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator
from math import log

from minivault.backends.base import Finish, Logprobs, ModelInfo, Piece, Request, TokenLogprob
from minivault.schemas import EffectiveParameters, FinishReason

_WORDS = re.compile(r"\s*\S+|\s+$")


def _words(prompt: str) -> list[str]:
    """The words, each with the white space before it, the first one too."""
    return _WORDS.findall(prompt if prompt[:1].isspace() else f" {prompt}")


class EchoBackend:
    """Repeats the words of the prompt until `max_tokens`, one token a word.

    The seed turns the order: the first word said is drawn with it, so that another seed says
    something else and the same seed the same.
    """

    def __init__(self, *, delay: float = 0.0, context_length: int = 4096) -> None:
        """`delay`: seconds between two words."""
        self._delay = delay
        self.info = ModelInfo(
            name="echo",
            context_length=context_length,
            reproducible=True,
            sha256="0" * 64,
            tokenizer_sha256="0" * 64,
            engine={"runner": "echo", "version": 1},
        )

    def count_tokens(self, prompt: str) -> int:
        return len(_words(prompt))

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        words = _words(request.prompt)
        start = random.Random(request.seed).randrange(len(words))
        for step in range(request.max_tokens):
            await asyncio.sleep(self._delay)
            word = words[(start + step) % len(words)]
            yield Piece(word, logprobs=_logprobs(word, words, request.params))
        yield Finish(FinishReason.LENGTH)


def _logprobs(word: str, words: list[str], params: EffectiveParameters) -> tuple[Logprobs, ...]:
    """Every word of the prompt is as likely as it is frequent there."""
    count = params.top_logprobs
    if not count and not params.logprobs:
        return ()
    shares = {each: log(words.count(each) / len(words)) for each in dict.fromkeys(words)}
    likeliest = sorted(shares.items(), key=lambda item: -item[1])[:count]
    top = tuple(TokenLogprob(text, logprob) for text, logprob in likeliest)
    return (Logprobs(TokenLogprob(word, shares[word]), top),)
