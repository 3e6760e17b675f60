"""pydantic-ai's Agent, by the chat's door and by the responses'."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.settings import ModelSettings

from tests.clients.drivers.asked import ASKED, failure, tell


class Animal(BaseModel):
    name: str
    legs: int


CHAT = OpenAIChatModel("smollm2")
SETTINGS = ModelSettings(**ASKED["sampling"])
TEXT = ASKED["text"]
SEED = {"seed": ASKED["sampling"]["seed"]}


def answered(model: Any = CHAT, text: str = TEXT, output: Any = str, **changes: Any) -> Any:
    agent = Agent(model, output_type=output)
    return agent.run_sync(text, model_settings=ModelSettings(**{**SETTINGS, **changes})).output


async def streamed() -> list[str]:
    async with Agent(CHAT).run_stream(TEXT, model_settings=SETTINGS) as run:
        return [each async for each in run.stream_text(delta=True, debounce_by=None)]


pieces = asyncio.run(streamed())
tell(
    whole=answered(),
    streamed="".join(pieces),
    pieces=len(pieces),
    responses=answered(OpenAIResponsesModel("smollm2"), extra_body=SEED),
    structured=answered(text="A cat.", output=NativeOutput(Animal), max_tokens=80).model_dump(),
    called=answered(text="A cat.", output=Animal, max_tokens=80).model_dump(),
    wrong=failure(lambda: answered(temperature=5)),
    too_long=failure(lambda: answered(text=TEXT * 400)),
)
