"""A prompt is read once, and what its reading brings goes with the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.errors import InvalidRequest
from minivault.generations.prompt import prepare, prepare_again
from minivault.schemas import GenerateRequest
from minivault.text_request import TextRequest
from tests.generations.backends import Reins
from tests.generations.house import house, names_of, rest_of, until


@dataclass
class Reading(Reins):
    """Makes a token of every letter, and remembers what it read and what it was given."""

    read: list[str] = field(default_factory=list)
    given: list[tuple[int, ...] | None] = field(default_factory=list)

    def tokenize(self, prompt: str) -> list[int]:
        self.read.append(prompt)
        return [ord(letter) for letter in prompt]

    def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        self.given.append(request.tokens)
        return super().generate(request)


def test_the_tokens_of_a_prompt_come_with_the_request_each_time_that_it_is_run(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        backend = Reading(allowed=2)
        async with house(tmp_path, backend, grace=0.0) as here:
            left = await here.start("abc")
            events = await until(left, 2)
            assert events[0][1].data["prompt_tokens"] == 3
            left.close()
            await here.registry.idle()
            backend.go()
            id, visitor = left.generation.id, here.visitor()
            answer = await here.generations.come_back(id, 2, None, visitor)
            assert names_of(await rest_of(answer.follower))[-1] == "done"  # type: ignore[union-attr]
            assert backend.read == ["abc"]
            assert backend.given == [(97, 98, 99)] * 2
            with pytest.raises(InvalidRequest, match="1000 tokens"):
                await here.start("a" * 1000)

    asyncio.run(scenario())


def test_a_backend_that_only_counts_gets_no_tokens(tmp_path: Path) -> None:
    class Counting(Reading):
        tokenize = None  # type: ignore[assignment]

    async def scenario() -> None:
        backend = Counting(allowed=9)
        async with house(tmp_path, backend) as here:
            events = await rest_of(await here.start("one two three"))
            assert events[0][1].data["prompt_tokens"] == 3
            assert backend.given == [None]

    asyncio.run(scenario())


def test_a_bias_of_a_token_that_the_model_lacks_is_refused_but_not_in_a_record() -> None:
    class Drawing(Reins):
        @property
        def info(self) -> ModelInfo:
            return replace(super().info, vocabulary=100)

    def asked(token: int) -> TextRequest:
        return TextRequest(prompt="a", logit_bias={3: 1.0, token: -5.0})

    assert prepare(asked(99), 1, Drawing()).request.params.logit_bias[99] == -5
    with pytest.raises(InvalidRequest, match="the token 100, but this model draws from 100 tokens"):
        prepare(asked(100), 1, Drawing())
    old = prepare(asked(100), 1, Reins()).request  # of a time, or a server, that did not look
    assert prepare_again(old, 1, Drawing()).request == old


def test_where_a_request_is_silent_the_models_makers_count() -> None:
    class Recommending(Reins):
        @property
        def info(self) -> ModelInfo:
            return replace(super().info, defaults={"temperature": 0.6, "top_k": 20, "min_p": 0.1})

    def effective(backend: Reins, **said: Any) -> list[float]:
        params = prepare(GenerateRequest(prompt="a", **said), 1, backend).request.params
        return [params.temperature, params.top_k, params.top_p, params.min_p]

    assert effective(Recommending()) == [0.6, 20, 0.95, 0.1]
    assert effective(Recommending(), temperature=0.8, top_k=50) == [0.8, 50, 0.95, 0.1]
    assert effective(Reins()) == [0.8, 50, 0.95, 0.0]
