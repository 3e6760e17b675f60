"""Functions over /v1: what a model is told, how its calls are told, and what comes back to it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from minivault.backends.base import Finish, Piece, Rendered, Request
from minivault.backends.echo import EchoBackend
from minivault.engine.tokenizer import Tokenizer
from tests.engine.chat_models import tokenizer_of
from tests.live import LiveServer, live_server
from tests.web.asking import ask, generate
from tests.web.openai.stage import CHAT, chunks, post, refused
from tests.web.openai.test_framing import HEAD, normal
from tests.web.openai.test_resume import forget, ids

RESPONSES = "/v1/responses"
PARAMETERS = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ADD: dict[str, Any] = {"name": "add", "description": "Adds.", "parameters": PARAMETERS}
TOOLS: list[Any] = [{"type": "function", "function": ADD}]
CALL = '<tool_call>\n{"name": "add", "arguments": {"x": 12}}\n</tool_call>'
SCRIPT = f"<think>\nHm.\n</think>\n\nSo:\n{CALL}\n{CALL}"


class Scripted(EchoBackend):
    """Says what it was last told, three letters a token; reads and renders as a real model does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.render, self.call_format = tokenizer.render, tokenizer.call_format
        self.constrain = tokenizer.constrain
        self.info = replace(
            self.info,
            name="scripted",
            chat=True,
            reader=lambda request: tokenizer.reader(request.prompt, request.params.response_format),
        )

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        assert isinstance(request.prompt, Rendered)
        script = request.prompt.messages[-1]["content"]
        for place in range(0, len(script), 3):
            yield Piece(script[place : place + 3])
        yield Finish()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    backend = Scripted(tokenizer_of("calling"))
    with live_server(tmp_path_factory.mktemp("server"), backend) as live:
        yield live


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def body(script: str = SCRIPT, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": script}], "tools": TOOLS, **fields}


def test_an_answer_is_told_in_parts_and_as_a_whole(
    server: LiveServer, client: openai.OpenAI
) -> None:
    whole = client.chat.completions.create(model="", **body())
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "So:"
    assert choice.message.to_dict()["reasoning_content"] == "Hm."
    assert choice.message.tool_calls
    functions = [each.to_dict()["function"] for each in choice.message.tool_calls]
    assert functions == [{"name": "add", "arguments": '{"x": 12}'}] * 2
    record = server.records()[-1]
    assert (record["response"], record["finish_reason"]) == (SCRIPT, "stop")  # the text is raw
    with client.chat.completions.stream(model="", **body()) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.content == "So:"
    assert [each.function.arguments for each in streamed.message.tool_calls or ()] == [
        '{"x": 12}',
        '{"x": 12}',
    ]


def test_37_the_name_of_a_call_comes_once_and_its_arguments_in_parts(server: LiveServer) -> None:
    found = chunks(post(server, CHAT, **body(stream=True)))
    deltas = [each["choices"][0]["delta"] for each in found]
    calls = [call for each in deltas for call in each.get("tool_calls", ())]
    for index in (0, 1):
        first, *rest = [each for each in calls if each["index"] == index]
        assert first["id"].startswith("call_")
        assert first["function"]["name"] == "add"
        assert rest
        assert all(each.keys() == {"index", "function"} for each in rest)
        arguments = [each["function"]["arguments"] for each in (first, *rest)]
        assert "".join(arguments) == '{"x": 12}'
    assert "".join(each.get("reasoning_content", "") for each in deltas) == "Hm."
    assert "".join(each.get("content", "") for each in deltas) == "So:"
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_of_a_call_is_these_bytes(server: LiveServer) -> None:
    head = HEAD.format(prefix="chatcmpl-", kind="chat.completion.chunk")
    head = head.replace('"actor"', '"scripted"')

    def block(number: int, delta: str, finish: str = "null", more: str = "") -> str:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'
        return f'id: ID.{number}\ndata: {{{head},"choices":[{choice}]{more}}}\n\n'

    def call(arguments: str, more: str = "", name: str = "") -> str:
        function = f'{{{name}"arguments":{json.dumps(arguments)}}}'
        return f'{{"tool_calls":[{{"index":0,{more}"function":{function}}}]}}'

    told = normal(post(server, CHAT, **body(CALL, stream=True)).text)
    assert re.sub(r"call_[0-9a-f]{24}", "call_ID", told) == "".join(
        [
            block(0, '{"role":"assistant","content":""}'),
            block(14, call("{", '"id":"call_ID","type":"function",', '"name":"add",')),
            block(15, call('"x"')),
            block(16, call(": 1")),
            block(17, call("2}")),
            block(23, "{}", '"tool_calls"', ',"minivault":OURS'),
            "data: [DONE]\n\n",
        ]
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_stream_of_parts_goes_on_from_any_block(server: LiveServer, kept: bool) -> None:
    whole = post(server, CHAT, **body(stream=True)).text
    id = ids(whole)[0].split(".")[0]
    for place in ids(whole)[:-1]:
        after = place.split(".")[1]
        if not kept:
            forget(server, id)
            if after not in ("0", "9", "20"):
                continue
        rest = ask(server, "GET", f"{CHAT}/{id}?stream=true&starting_after={after}").text
        expected = whole[whole.index("\n\n", whole.index(f"id: {place}\n")) + 2 :]
        assert rest.split('"minivault"')[0] == expected.split('"minivault"')[0]


def test_an_answer_is_found_again_with_its_calls(server: LiveServer) -> None:
    made = post(server, CHAT, **body()).json()
    forget(server, made["minivault"]["id"])
    assert ask(server, "GET", f"{CHAT}/{made['id']}").json() == made


def test_what_a_function_gave_comes_into_the_prompt(server: LiveServer) -> None:
    made = post(server, CHAT, **body()).json()["choices"][0]["message"]
    id = made["tool_calls"][0]["id"]
    messages = [*body()["messages"], made, {"role": "tool", "tool_call_id": id, "content": "24"}]
    answer = post(server, CHAT, messages=messages, tools=TOOLS).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("24", "stop")
    prompt = server.records()[-1]["prompt"]
    assert f"<|im_start|>assistant\nSo:\n{CALL}\n{CALL}<|im_end|>" in prompt
    assert "<tool_response>\n24\n</tool_response>" in prompt
    assert json.dumps(TOOLS[0]) in prompt


def test_chat_template_kwargs_reach_the_template(server: LiveServer) -> None:
    fields = body("Yes", chat_template_kwargs={"thinking": False})
    assert post(server, CHAT, **fields).json()["choices"][0]["message"]["content"] == "Yes"
    assert server.records()[-1]["prompt"].endswith("<think>\n\n</think>\n\n")


def test_a_named_function_and_a_required_one_are_in_the_record(server: LiveServer) -> None:
    named = {"type": "function", "function": {"name": "add"}}
    for choice, parallel in ((named, True), ("required", False)):
        post(server, CHAT, **body(tool_choice=choice, parallel_tool_calls=parallel))
        format = server.records()[-1]["params"]["response_format"]
        assert format["choice"] == ("add" if choice == named else "required")
        assert format["parallel"] is parallel
        assert [each["name"] for each in format["tools"]] == ["add"]


def test_no_calls_are_read_where_none_may_be_made(server: LiveServer) -> None:
    answer = post(server, CHAT, **body(CALL, tool_choice="none")).json()
    assert "response_format" not in answer["minivault"]["params"]
    told = generate(server, prompt=None, messages=body()["messages"]).json()
    assert told["text"] == SCRIPT  # other doors tell the text as it is


FLAT = [{"type": "function", **ADD, "strict": True}]
NAMES = ["created", "in_progress", "output_item.added", "reasoning_text.delta"]


def test_a_response_has_items_and_their_events(server: LiveServer, client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "", "input": SCRIPT, "tools": FLAT}
    with client.responses.stream(**fields) as stream:
        events = list(stream)
        final = stream.get_final_response()
    names = [each.type.removeprefix("response.") for each in events]
    assert list(dict.fromkeys(names))[:4] == NAMES
    assert names[-1] == "completed"
    numbers = [each.sequence_number for each in events]
    assert numbers == sorted(set(numbers))
    whole = client.responses.create(**fields)
    for made in (whole, final):
        kinds = [each.type for each in made.output]
        assert kinds == ["reasoning", "message", "function_call", "function_call"]
        assert made.output_text == "So:"
        assert made.output[2].to_dict().items() >= {"name": "add", "arguments": '{"x": 12}'}.items()
        assert {each.status for each in made.output} == {"completed"}  # type: ignore[union-attr]
    assert whole.tools[0].to_dict()["name"] == "add"
    for place in (0, 1, 2, 5, len(events) - 3):
        rest = list(client.responses.retrieve(final.id, stream=True, starting_after=numbers[place]))
        assert [each.sequence_number for each in rest] == numbers[place + 1 :]
    forget(server, whole.id.removeprefix("resp_"))
    assert client.responses.retrieve(whole.id).output == whole.output


def test_a_response_goes_on_with_what_a_function_gave(
    server: LiveServer, client: openai.OpenAI
) -> None:
    first = client.responses.create(model="", input=CALL, tools=FLAT)  # type: ignore[arg-type]
    call = first.output[0].to_dict()
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "24"}
    second = client.responses.create(
        model="",
        input=[output],  # type: ignore[list-item]
        previous_response_id=first.id,
        tools=FLAT,  # type: ignore[arg-type]
    )
    assert second.output_text == "24"
    prompt = server.records()[-1]["prompt"]
    items = [{"role": "user", "content": CALL}, call, output]
    answer = post(server, RESPONSES, input=items, tools=FLAT)
    assert answer.json()["output"][0]["content"][0]["text"] == "24"
    assert server.records()[-1]["prompt"] == prompt


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "web_search"}]}, 'tools.0.type: must be "function"'),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools.0.name: must be a name",
    ),
    ({"tools": [*TOOLS, *TOOLS]}, "tools.1.name: is the name of an earlier one"),
    ({"tools": [{"function": {"name": "f", "parameters": 3}}]}, "must be a JSON schema such as"),
    ({"tools": [{"function": {"name": "f", "description": 3}}]}, "description: must be a string"),
    ({"tools": [{"function": "f"}]}, 'must be an object such as {"type": "function"'),
    ({"tools": {"name": "f"}}, "tools: must be a list"),
    ({"tools": TOOLS * 129}, "tools: must be a list of up to 128"),
    ({"tool_choice": "any"}, 'tool_choice: must be "auto", "none", "required"'),
    ({"tool_choice": {"type": "function", "function": {"name": "sub"}}}, "one of the tools"),
    ({"tools": None, "tool_choice": "required"}, "there are no tools"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls: must be true or false"),
    ({"chat_template_kwargs": 3}, "chat_template_kwargs: must be an object such as"),
    (
        {"tools": [{"function": {"name": "f", "parameters": {"uniqueItems": True}}}]},
        "tools: Invalid schema for tools: the parameters of f:",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}, {}]},
        "messages.1.role: must be",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}
            ]
        },
        "messages.0.tool_calls.0.function.arguments: must be a JSON object, written as a string",
    ),
]


@pytest.mark.parametrize("fields, right", WRONG)
def test_a_wrong_request_is_told_what_is_right(
    server: LiveServer, fields: dict[str, Any], right: str
) -> None:
    assert right in refused(post(server, CHAT, **body("Hello") | fields))["message"]
    if "messages" not in fields:
        fields = {"input": "Hello", "tools": TOOLS} | fields
        assert right in refused(post(server, RESPONSES, **fields))["message"]


def test_whoever_cannot_call_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    with live_server(tmp_path_factory.mktemp("echo"), EchoBackend()) as server:
        error = refused(post(server, CHAT, **body("Hello")))
        assert (error["code"], error["param"]) == ("unsupported", "tools")
        assert "no chat template" in error["message"]
        error = refused(post(server, "/v1/completions", prompt="Hello", tools=TOOLS))
        assert "/v1/chat/completions" in error["message"]
