"""Wrong requests: each gets OpenAI's envelope, whose message alone tells what is right."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from minivault.errors import TooManyWrongKeys
from minivault.web.openai.chat import ChatFields
from minivault.web.openai.completion import CompletionFields
from minivault.web.openai.envelope import envelope, status_of
from minivault.web.openai.fields import Fields
from minivault.web.openai.responses.reading import ResponseFields
from tests.live import LiveServer
from tests.web.asking import ask
from tests.web.openai.stage import CHAT, TEXTS, post, refused

USER = {"role": "user", "content": "Hello"}
#: Field, value, and words that tell what is right. `messages` is right unless it is the field.
WRONG_CHAT: list[tuple[str, Any, str]] = [
    ("temperature", 2.5, "from 0 to 2"),
    ("temperature", "hot", "from 0 to 2"),
    ("temperature", True, "from 0 to 2"),
    ("top_p", 1.1, "from 0 to 1"),
    ("top_p", -0.1, "from 0 to 1"),
    ("top_k", 1001, "from 0 to 1000"),
    ("top_k", 1.5, "from 0 to 1000"),
    ("min_p", 2, "from 0 to 1"),
    ("repetition_penalty", 0.5, "from 1 to 2"),
    ("frequency_penalty", 3, "from -2 to 2"),
    ("presence_penalty", -3, "from -2 to 2"),
    ("logit_bias", {"12": 101}, "from -100 to 100"),
    ("logit_bias", {"word": 1}, "token ids"),
    ("logit_bias", [], "token ids"),
    ("seed", 2**64, "64 bits"),
    ("seed", 0.5, "64 bits"),
    ("n", 0, "at least 1"),
    ("n", 9, "at most 8"),
    ("n", "2", "at least 1"),
    ("stop", 5, "a string, or a list"),
    ("stop", [5], "a string, or a list"),
    ("stop", list("abcdefghi"), "up to 8 strings"),
    ("stop", "x" * 1001, "up to 1000 characters"),
    ("max_tokens", 0, "at least 1"),
    ("max_tokens", -2, "at least 1"),
    ("max_tokens", 1.0, "at least 1"),
    ("max_completion_tokens", 0, "at least 1"),
    ("max_completion_tokens", "many", "at least 1"),
    ("stream", "yes", "true or false"),
    ("stream_options", 1, "include_usage"),
    ("stream_options.include_usage", {"include_usage": "yes"}, "true or false"),
    ("logprobs", 3, "true or false"),
    ("top_logprobs", 21, "from 0 to 20"),
    ("top_logprobs", 2, "logprobs: true"),
    ("metadata", {"a": 1}, "16 strings"),
    ("metadata", {"a" * 65: "b"}, "up to 64"),
    ("user", 7, "a string"),
    ("model", 7, "GET /v1/models"),
    ("messages", None, "1 to 1000 messages"),
    ("messages", [], "1 to 1000 messages"),
    ("messages", "Hello", "1 to 1000 messages"),
    ("messages", [USER] * 1001, "1 to 1000 messages"),
    ("messages.0", [7], "a role and a content"),
    ("messages.0.role", [{"role": "robot", "content": "x"}], "system, developer, user"),
    ("messages.0.role", [{"content": "x"}], "system, developer, user"),
    ("messages.0.content", [{"role": "user"}], "must be a string"),
    ("messages.0.content", [{"role": "user", "content": None}], "must be a string"),
    ("messages.0.content", [{"role": "user", "content": 7}], "must be a string"),
    (
        "messages.0.content.0.type",
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        "of type text",
    ),
    (
        "messages.0.content.0.text",
        [{"role": "user", "content": [{"type": "text"}]}],
        "must be a string",
    ),
    ("tools", [{"type": "function", "function": {"name": "f"}}], "leave it out"),
    ("tool_choice", "required", "leave it out"),
    ("functions", [{"name": "f"}], "send tools"),
    ("function_call", "auto", "tool_choice"),
    ("modalities", ["audio"], '["text"]'),
    ("audio", {}, "writes text"),
    ("grammar", "root ::= x", "leave it out"),
    ("max_token", 5, "max_tokens may be meant"),
    ("maxTokens", 5, "max_tokens may be meant"),
    ("max_new_tokens", 5, "max_tokens says how long"),
    ("max_output_tokens", 5, "max_tokens says how long"),
    ("stopSequences", ["x"], "stop has the strings"),
    ("repeat_penalty", 1.1, "repetition_penalty is meant"),
    ("text", {"format": {"type": "json_object"}}, "response_format says"),
    ("system", "Be brief.", "of role system"),
    ("prompt", "Hello", "/v1/completions"),
]
WRONG_TEXTS: list[tuple[str, Any, str]] = [
    ("prompt", 7, "a list of token ids"),
    ("prompt", [], "a list of token ids"),
    ("prompt", [1, "a"], "a list of token ids"),
    ("prompt", [[1], [-1]], "a list of token ids"),
    ("prompt", ["a"] * 9, "at most 8"),
    ("logprobs", 21, "from 0 to 20"),
    ("logprobs", True, "from 0 to 20"),
    ("best_of", 3, "the same as n"),
    ("suffix", "end", "middles"),
    ("echo", 1, "true or false"),
    ("messages", [USER], "/v1/chat/completions"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field, value, right", WRONG_CHAT)
def test_a_wrong_field_of_chat_is_named(
    server: LiveServer, field: str, value: Any, right: str, stream: bool
) -> None:
    body = {"messages": [USER], "stream": stream} | {field.split(".")[0]: value}
    error = refused(post(server, CHAT, **body))
    assert right in error["message"]
    assert error["message"].startswith(error["param"])
    assert error["param"] == field
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("field, value, right", WRONG_TEXTS)
def test_a_wrong_field_of_completions_is_named(
    server: LiveServer, field: str, value: Any, right: str
) -> None:
    error = refused(post(server, TEXTS, **{"prompt": "x", field: value}))
    assert right in error["message"]
    assert error["param"] == ("n" if right == "at most 8" else field)


def test_what_is_no_json_is_told_what_would_be(server: LiveServer) -> None:
    for content in (b"", b"{", b"[]", b"\xff{}", b'"x"'):
        error = refused(ask(server, "POST", CHAT, content=content))
        assert "JSON" in error["message"]
    twice = ask(server, "POST", CHAT, content=b'{"n": 1, "n": 2}')
    assert refused(twice)["param"] == "n"


@pytest.mark.parametrize(
    "method, path, status, words",
    [
        ("POST", "/v1/embeddings", 404, "no embeddings"),
        ("POST", "/v1/decisions", 404, "echo with logprobs"),
        ("POST", "/v1/audio/speech", 404, "no speech"),
        ("POST", "/v1/messages", 404, "/v1/chat/completions"),
        ("GET", "/v1/nowhere", 404, "/docs"),
        ("GET", "/v1/completions", 405, "this address takes POST"),
        ("DELETE", "/v1/models", 405, "this address takes GET, HEAD"),
        ("GET", "/v1/models/other", 404, "actor serves"),
        ("GET", "/v1/chat/completions/chatcmpl-x", 404, "nothing with this id"),
        ("POST", "/chat/completions", 404, "/v1"),
        ("POST", "/v1/v1/chat/completions", 404, "ends in /v1"),
        ("GET", "/v1", 404, "ends in /v1"),
        ("POST", "/api/chat", 404, "the base URL http://"),
    ],
)
def test_a_wrong_address_is_told_the_right_one(
    server: LiveServer, method: str, path: str, status: int, words: str
) -> None:
    assert words in refused(ask(server, method, path), status)["message"]


def test_the_guards_speak_as_openai_too(server: LiveServer) -> None:
    foreign = ask(server, "POST", CHAT, json={}, headers={"Origin": "https://evil.example"})
    assert "--trusted-origin" in refused(foreign, 403)["message"]
    squeezed = ask(server, "POST", CHAT, content=b"x", headers={"Content-Encoding": "gzip"})
    assert "compressed" in refused(squeezed, 415)["message"]
    host = httpx.get(server.url + "/v1/models", headers={"Host": "evil.example"}, trust_env=False)
    assert refused(host)["type"] == "invalid_request_error"


def test_whoever_tries_keys_has_to_wait_and_is_told_so_in_these_words() -> None:
    error = TooManyWrongKeys("wrong keys came from this address", retry_after=2)
    assert status_of(error) == 429
    assert envelope(error)["error"]["type"] == "rate_limit_error"


def test_a_wrong_key_of_an_idempotent_request_is_told(server: LiveServer) -> None:
    headers = {"Idempotency-Key": "one of many"}
    body = {"messages": [USER], "max_tokens": 1}
    assert ask(server, "POST", CHAT, json=body, headers=headers).status_code == 200
    error = refused(ask(server, "POST", CHAT, json=body | {"max_tokens": 2}, headers=headers))
    assert error["param"] == "Idempotency-Key"
    wrong = ask(server, "POST", CHAT, json=body, headers={"Last-Event-ID": "nonsense"})
    assert refused(wrong)["param"] == "Last-Event-ID"


@pytest.mark.parametrize("fields", [ChatFields, CompletionFields, ResponseFields])
def test_what_a_door_refuses_is_not_described_at_it(fields: type[Fields]) -> None:
    described = fields.model_json_schema()["properties"]
    assert described.keys().isdisjoint(fields.instead)
    assert "temperature" in described
