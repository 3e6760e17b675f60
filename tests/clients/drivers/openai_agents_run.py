"""openai-agents' Runner, by the responses' door and by the chat's."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from tests.clients.drivers.asked import ASKED, failure, tell


class Animal(BaseModel):
    name: str
    legs: int


TEXT, SAMPLING = ASKED["text"], ASKED["sampling"]
KINDS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


def agent(kind: str = "chat", output: Any = None, **changes: Any) -> Agent:
    said = {**SAMPLING, **changes}
    settings = ModelSettings(
        temperature=said["temperature"],
        max_tokens=said["max_tokens"],
        extra_body={"seed": said["seed"]},
    )
    model = KINDS[kind]("smollm2", AsyncOpenAI(max_retries=0))
    return Agent(name="teller", model=model, model_settings=settings, output_type=output)


def answered(text: str = TEXT, **changes: Any) -> Any:
    return Runner.run_sync(agent(**changes), text).final_output


async def streamed(kind: str, **changes: Any) -> list[str]:
    run = Runner.run_streamed(agent(kind, **changes), TEXT)
    raw = [each.data async for each in run.stream_events() if each.type == "raw_response_event"]
    return [each.delta for each in raw if each.type == "response.output_text.delta"]


def animal(name: Annotated[str, Field(max_length=20)], legs: int) -> str:
    """Notes an animal."""
    return Animal(name=name, legs=legs).model_dump_json()


def called(kind: str) -> Any:
    told = agent(kind, max_tokens=200)
    told.tools, told.tool_use_behavior = [function_tool(animal)], "stop_on_first_tool"
    told.model_settings.tool_choice = "required"
    return json.loads(Runner.run_sync(told, "A cat.").final_output)


pieces = asyncio.run(streamed("chat"))
tell(
    whole=answered(),
    streamed="".join(pieces),
    pieces=len(pieces),
    to_end=answered(kind="responses", max_tokens=400),
    to_end_streamed="".join(asyncio.run(streamed("responses", max_tokens=400))),
    structured=answered("A cat.", output=Animal, max_tokens=80).model_dump(),
    called=called("chat"),
    called_in_response=called("responses"),
    wrong=failure(lambda: answered(temperature=5)),
    too_long=failure(lambda: answered(TEXT * 400)),
)
