"""What is JSON and yet cannot be told on: nested without measure, half a character, no object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.errors import InvalidRequest
from minivault.web.openai.calls import MOST_NESTED, CallingFields, earlier_call, tools_of
from minivault.web.openai.parts import CallMade

HALF = "\ud800"
DEEP = '{"a":' * (MOST_NESTED + 1) + "1" + "}" * (MOST_NESTED + 1)


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"id": "c", "function": {"name": "f", "arguments": arguments}} | more


@pytest.mark.parametrize(
    "given, field, right",
    [
        (call("[" * 200_000), "m.function.arguments", "must be a JSON object"),
        (call(DEEP), "m.function.arguments", "nested too deep"),
        (call('{"a": "\\ud800"}'), "m.function.arguments", "surrogate"),
        (call({"a": [HALF]}), "m.function.arguments", "surrogate"),
        (call({HALF: 1}), "m.function.arguments", "surrogate"),
        (call("{}", id=HALF), "m.id", "surrogate"),
        (call("{}", function={"name": HALF}), "m.function.name", "surrogate"),
    ],
)
def test_a_call_that_cannot_be_told_on_is_refused_by_name(
    given: dict[str, Any], field: str, right: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        earlier_call("m", given)
    (error,) = raised.value.errors
    assert (error.field, right in error.message) == (field, True)


@pytest.mark.parametrize(
    "name, value", [("description", HALF), ("parameters", {"enum": [HALF]}), ("parameters", DEEP)]
)
def test_a_function_that_cannot_be_described_is_refused_by_name(name: str, value: Any) -> None:
    value = json.loads(value) if value == DEEP else value
    with pytest.raises(InvalidRequest) as raised:
        tools_of([{"function": {"name": "f", name: value}}], None, True)
    assert raised.value.errors[0].field == f"tools.0.{name}"


def test_what_is_nested_as_deep_as_may_be_comes_through() -> None:
    deep: Any = 1
    for _ in range(MOST_NESTED - 1):
        deep = {"a": deep}
    tools = tools_of([{"function": {"name": "f", "parameters": deep}}], None, True)
    assert tools
    assert tools.shown[0]["function"]["parameters"] == deep
    assert earlier_call("m", call(json.dumps(deep)))["function"]["arguments"] == deep


@pytest.mark.parametrize("made", ["[" * 200_000, DEEP, '{"a": "\\ud800"}', "[1]", "1", '{"a'])
def test_a_call_that_was_made_goes_back_without_arguments_that_none_are(made: str) -> None:
    assert CallMade("c", "f", made).turn["function"]["arguments"] == {}
    assert CallMade("c", "f", '{"a": 1}').turn["function"]["arguments"] == {"a": 1}


@pytest.mark.parametrize(
    "name, value, field, right",
    [
        ("tools", [1], "chat_template_kwargs.tools", "goes as tools"),
        ("messages", [], "chat_template_kwargs.messages", "goes as the messages"),
        ("add_generation_prompt", False, "chat_template_kwargs.add_generation_prompt", "follows"),
        ("now", "x", "chat_template_kwargs.now", "told by the server"),
        ("a", HALF, "chat_template_kwargs", "surrogate"),
        ("a", json.loads(DEEP), "chat_template_kwargs", "nested too deep"),
    ],
)
def test_a_template_is_told_nothing_that_the_request_says(
    name: str, value: Any, field: str, right: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        _ = CallingFields(chat_template_kwargs={name: value}).calling
    (error,) = raised.value.errors
    assert (error.field, right in error.message) == (field, True)
    assert CallingFields(chat_template_kwargs={"tools": None, "a": 1}).calling["template"]
