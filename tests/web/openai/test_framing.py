"""The bytes of a stream over /v1: each rule stands for a client that would die without it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from minivault.web import sse
from tests.live import LiveServer
from tests.web.asking import connection, to_end, until
from tests.web.openai.stage import CHAT, Actor, chat, chunks, texts

GOLDEN = (
    'id: ID.0\ndata: {HEAD,"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    '"logprobs":null,"finish_reason":null}]}\n\n'
    'id: ID.1\ndata: {HEAD,"choices":[{"index":0,"delta":{"content":" one"},'
    '"logprobs":null,"finish_reason":null}]}\n\n'
    'id: ID.2\ndata: {HEAD,"choices":[{"index":0,"delta":{"content":" one"},'
    '"logprobs":null,"finish_reason":null}]}\n\n'
    'id: ID.3\ndata: {HEAD,"choices":[{"index":0,"delta":{},'
    '"logprobs":null,"finish_reason":"length"}],"minivault":OURS}\n\n'
    "data: [DONE]\n\n"
)
GOLDEN_TEXTS = (
    'id: ID.1\ndata: {HEAD,"choices":[{"index":0,"text":" one",'
    '"logprobs":null,"finish_reason":null}]}\n\n'
    'id: ID.2\ndata: {HEAD,"choices":[{"index":0,"text":"",'
    '"logprobs":null,"finish_reason":"length"}],"minivault":OURS}\n\n'
    "data: [DONE]\n\n"
)
HEAD = (
    '"id":"{prefix}ID","object":"{kind}","created":TIME,"model":"actor",'
    '"system_fingerprint":"fp_MODEL"'
)


def normal(stream: str) -> str:
    """The stream without what is another in every run."""
    stream = re.sub(r"[A-Za-z0-9_-]{64}(?=[.\"])", "ID", stream)
    stream = re.sub(r'"created":\d{10}', '"created":TIME', stream)
    stream = re.sub(r"fp_[0-9a-f]{16}", "fp_MODEL", stream)
    return re.sub(r'"minivault":\{.*\}\}\n\n', '"minivault":OURS}\n\n', stream)


@pytest.fixture(scope="module")
def stream(server: LiveServer) -> str:
    return chat(server, "one", max_tokens=2, stream=True, seed=1).text


def test_a_stream_of_chat_is_these_bytes(stream: str) -> None:
    head = HEAD.format(prefix="chatcmpl-", kind="chat.completion.chunk")
    assert normal(stream) == GOLDEN.replace("HEAD", head)


def test_a_stream_of_completions_is_these_bytes(server: LiveServer) -> None:
    found = texts(server, "one", max_tokens=1, stream=True, seed=1).text
    head = HEAD.format(prefix="cmpl-", kind="text_completion")
    assert normal(found) == GOLDEN_TEXTS.replace("HEAD", head)


#: One for each row of what breaks which client.
RULES: dict[str, Callable[[str], Any]] = {
    "only data blocks, which every parser reads": lambda s: all(
        re.fullmatch(r"(id: \S+\n)?data: (\{.*\}|\[DONE\])", each) for each in s[:-2].split("\n\n")
    ),
    "no comment, which openai for Go dies of": lambda s: not re.search(r"^:", s, re.M),
    "ids stand in blocks of data": lambda s: not re.search(r"^id: \S+\n\n", s, re.M),
    "no retry, which openai for Python dies of": lambda s: "\nretry:" not in s,
    "no event without data, which both SDKs die of": lambda s: not re.search("^event:", s, re.M),
    "no block of our own, which Vercel refuses": lambda s: "receipt" in s.split("\n\n")[-3],
    "ours is a top-level field": lambda s: '"minivault":{' in s and '"delta":{"mini' not in s,
    "nothing in a delta that is added up": lambda s: not re.search(r'"delta":\{[^}]*\d', s),
    "the role comes once": lambda s: s.count('"role"') == 1,
    "the role comes first": lambda s: '"role":"assistant","content":""' in s.split("\n\n")[0],
    "the finish reason comes apart from the text": lambda s: '"delta":{},' in s.split("\n\n")[-3],
    "a finish reason that typed clients know": lambda s: '"finish_reason":"length"' in s,
    "no usage unasked": lambda s: '"usage"' not in s,
    "[DONE] exactly, and an empty line behind it": lambda s: s.endswith("\n\ndata: [DONE]\n\n"),
    "one line of ASCII in each block": lambda s: s.isascii() and "\r" not in s,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_stream_breaks_no_client(stream: str, rule: str) -> None:
    assert RULES[rule](stream)


def test_choices_are_opened_in_order(server: LiveServer) -> None:
    found = chunks(chat(server, max_tokens=3, stream=True, n=3))
    assert [each["choices"][0]["index"] for each in found[:3]] == [0, 1, 2]
    assert all("role" in each["choices"][0]["delta"] for each in found[:3])


def test_a_line_separator_stays_inside_a_string(server: LiveServer) -> None:
    answer = chat(server, "emoji", stream=True)
    assert answer.content.isascii()
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in chunks(answer)) == (
        "\N{ROCKET}\u2028!"
    )


@pytest.fixture(scope="module")
def silent(server: LiveServer, actor: Actor) -> str:
    """A stream in whose middle there was nothing to say for a while."""
    empty = '"delta":{"content":""},"logprobs":null,"finish_reason":null}]}'
    body = {"messages": [{"role": "user", "content": "wait"}], "stream": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "PING_SECONDS", 0.02)
        with connection(server, "POST", CHAT, "application/json", body) as opened:
            received = until(opened, empty).decode()
            while received.count(empty) < 3:
                received += until(opened, empty).decode()
            actor.go_on.set()
            received += to_end(opened).decode()
    actor.go_on.clear()
    _, chunked = received.split("\r\n\r\n", 1)
    return "".join(chunked.split("\r\n")[1::2])  # between the chunks' sizes


def blocks_of(stream: str) -> list[list[str]]:
    assert stream.endswith("\n\n")
    return [each.split("\n") for each in stream[:-2].split("\n\n")]


def test_13_what_keeps_alive_dispatches_no_empty_event(silent: str) -> None:
    for block in blocks_of(silent):
        assert sum(line.startswith("data: ") for line in block) == 1


def test_14_what_keeps_alive_is_no_comment(silent: str) -> None:
    assert not re.search(r"^(:|event|retry)", silent, re.M)


def test_15_what_keeps_alive_is_json_with_an_empty_delta(silent: str) -> None:
    *found, done = [block[-1].removeprefix("data: ") for block in blocks_of(silent)]
    assert done == "[DONE]"
    first, *rest = [json.loads(each)["choices"][0]["delta"] for each in found]
    assert first == {"role": "assistant", "content": ""}
    assert sum(each == {"content": ""} for each in rest) >= 3
    assert "".join(each.get("content", "") for each in rest) == " before after"


def test_16_what_keeps_alive_never_lands_inside_an_event(silent: str) -> None:
    for block in blocks_of(silent):
        assert re.fullmatch(r"(id: \S+\n)?data: (\{.*\}|\[DONE\])", "\n".join(block))


def test_17_no_line_begins_with_a_colon(silent: str) -> None:
    assert not any(line.startswith(":") for block in blocks_of(silent) for line in block)


@pytest.mark.parametrize("door", [chat, texts])
def test_a_text_that_fails_ends_in_an_error_and_done(server: LiveServer, door: Any) -> None:
    answer = door(server, "fail", stream=True).text
    *_, error, done, _ = answer.split("\n\n")
    assert done == "data: [DONE]"
    told = json.loads(error.split("data: ", 1)[1])
    assert told["error"] == {
        "message": "the backend raised ValueError",
        "type": "server_error",
        "param": None,
        "code": "backend_failed",
    }
    assert told["minivault"]["receipt"]["seq"] == len(server.records())
    assert "so far" in answer
