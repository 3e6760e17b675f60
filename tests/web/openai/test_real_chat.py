"""A real chat model over /v1: it answers, is made to call a function, and does so again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from minivault.backends.local import LocalBackend
from minivault.model_store import ModelStore
from minivault.settings import Settings
from tests.gguf.smollm2 import smollm2
from tests.live import live_server, wait_for
from tests.processes import minivault

pytestmark = pytest.mark.slow

FORECAST: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"enum": [1, 3]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
ASKED: dict[str, Any] = {"model": "", "seed": 1, "temperature": 0, "max_tokens": 60}


def test_it_answers_and_calls_and_the_records_replay(tmp_path: Path) -> None:
    models = smollm2().parents[1]
    settings = Settings(model="smollm2", models_dir=models, threads=2)
    backend = LocalBackend(settings, ModelStore(models).get("smollm2"))
    with live_server(tmp_path, backend, ready=False) as live:
        wait_for(lambda: live.service.stage.status != "loading", seconds=180)
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
            _ask(client)
        records = live.records()
    assert [each["door"] for each in records] == ["openai.chat"] * 4 + ["openai.responses"]
    call = '<tool_call>\n{"name": "forecast", "arguments": {"city": "Paris", "days": '
    assert records[1]["response"].startswith(call)
    assert records[2]["response"] == records[1]["response"]
    assert "<|im_start|>tool\nRain, 9 degrees<|im_end|>" in records[3]["prompt"]
    places = ("--logs-dir", str(live.log.parent), "--models-dir", str(models))
    replayed = minivault("logs", "replay", "2", *places, cwd=tmp_path, timeout=180)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def _ask(client: openai.OpenAI) -> None:
    capital: Any = [{"role": "user", "content": "Name the capital of France."}]
    plain = client.chat.completions.create(messages=capital, **ASKED)
    assert plain.choices[0].message.content == "The capital of France is Paris."
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    named: Any = {"type": "function", "function": {"name": "forecast"}}
    fields: Any = {"messages": messages, "tools": [FORECAST], "tool_choice": named, **ASKED}
    whole = client.chat.completions.create(**fields).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.tool_calls
    (call,) = [each.to_dict() for each in whole.message.tool_calls]
    arguments = json.loads(call["function"]["arguments"])
    assert (call["function"]["name"], arguments["city"]) == ("forecast", "Paris")
    with client.chat.completions.stream(**fields) as stream:
        (streamed,) = stream.get_final_completion().choices
    assert streamed.message.tool_calls
    assert streamed.message.tool_calls[0].function.arguments == call["function"]["arguments"]
    told = {"role": "tool", "tool_call_id": call["id"], "content": "Rain, 9 degrees"}
    back = [*messages, whole.message.to_dict(), told]
    client.chat.completions.create(messages=back, **ASKED)
    with pytest.raises(openai.BadRequestError, match="a call is forced"):
        client.chat.completions.create(**fields | {"tool_choice": "auto"})
    flat: Any = {"type": "function", **FORECAST["function"]}
    response = client.responses.create(
        model="",
        input="What is the weather in Paris?",
        tools=[flat],
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=60,
        temperature=0,
    )
    (item,) = [each.to_dict() for each in response.output]
    assert (item["type"], item["name"]) == ("function_call", "forecast")
