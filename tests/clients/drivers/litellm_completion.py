"""LiteLLM, by the name of a provider."""

from __future__ import annotations

import json
from typing import Any

import litellm

from tests.clients.drivers.asked import ASKED, failure, tell

SAID = [{"role": "user", "content": ASKED["text"]}]
ANIMAL = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "legs": {"type": "integer"}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}


def chat(provider: str = "openai", **changes: Any) -> Any:
    asked = {"messages": SAID, "max_retries": 0, **ASKED["sampling"], **changes}
    return litellm.completion(model=f"{provider}/smollm2", **asked)


def structured() -> Any:
    shape = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL}}
    return json.loads(chat(response_format=shape, max_tokens=60).choices[0].message.content)


def called() -> Any:
    function = {"name": "animal", "parameters": ANIMAL}
    tools = [{"type": "function", "function": function}]
    answer = chat(tools=tools, tool_choice="required", max_tokens=60)
    return json.loads(answer.choices[0].message.tool_calls[0].function.arguments)


pieces = [each.choices[0].delta.content for each in chat(stream=True)]
tell(
    whole=chat().choices[0].message.content,
    streamed="".join(each or "" for each in pieces),
    pieces=len([each for each in pieces if each]),
    hosted=chat("hosted_vllm", api_base=ASKED["url"]).choices[0].message.content,
    continued=litellm.text_completion(
        model="text-completion-openai/smollm2", prompt=ASKED["text"], **ASKED["sampling"]
    )
    .choices[0]
    .text,
    structured=structured(),
    called=called(),
    wrong=failure(lambda: chat(temperature=5)),
    too_long=failure(lambda: chat(messages=[{"role": "user", "content": ASKED["text"] * 400}])),
)
