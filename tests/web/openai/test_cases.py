"""What clients of other servers ran into, by the threads in which their users tell it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from minivault.web.openai.shapes import Completion
from tests.live import LiveServer
from tests.web.asking import ask
from tests.web.openai.stage import CHAT, Actor, blocks, chat, chunks, post, refused, said, texts

HELLO = [{"role": "user", "content": "Hello"}]


def choices(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice for chunk in found for choice in chunk["choices"]]


def test_01_the_role_chunk_has_an_empty_content_and_no_null(server: LiveServer) -> None:
    first = chunks(chat(server, stream=True))[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_02_the_finish_reason_is_null_until_the_end(server: LiveServer) -> None:
    for door in (chat, texts):
        *others, last = choices(chunks(door(server, stream=True, max_tokens=3)))
        assert {each["finish_reason"] for each in others} == {None}
        assert last["finish_reason"] == "length"


def test_03_the_chunk_with_the_finish_reason_has_no_content(server: LiveServer) -> None:
    assert choices(chunks(chat(server, stream=True, max_tokens=3)))[-1]["delta"] == {}
    assert choices(chunks(texts(server, stream=True, max_tokens=3)))[-1]["text"] == ""


def test_04_empty_stream_options_give_no_usage(server: LiveServer) -> None:
    found = chunks(chat(server, stream=True, max_tokens=3, stream_options={}))
    assert all("usage" not in each and each["choices"] for each in found)


def test_05_usage_comes_in_a_last_chunk_of_its_own_if_it_was_asked(server: LiveServer) -> None:
    options = {"include_usage": True}
    *others, last = chunks(chat(server, stream=True, max_tokens=3, stream_options=options))
    assert all(each["usage"] is None and each["choices"] for each in others)
    assert last["choices"] == []
    tokens = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert last["usage"] == {**tokens, "prompt_tokens_details": {"cached_tokens": 0}}
    assert last["minivault"]["receipt"]


def test_06_every_chunk_has_a_choice_where_usage_was_not_asked(server: LiveServer) -> None:
    assert all(each["choices"][0] for each in chunks(chat(server, stream=True)))


def test_07_finish_then_usage_then_done(server: LiveServer) -> None:
    options = {"include_usage": True}
    *_, finish, usage, done = blocks(
        chat(server, stream=True, max_tokens=1, stream_options=options)
    )
    assert json.loads(finish)["choices"][0]["finish_reason"] == "length"
    assert json.loads(usage)["usage"]
    assert done == "[DONE]"


def test_08_top_p_of_zero_is_greedy(server: LiveServer) -> None:
    answer = chat(server, top_p=0, max_tokens=2).json()
    assert answer["minivault"]["params"]["temperature"] == 0
    assert answer["choices"][0]["finish_reason"] == "length"


def test_09_an_empty_line_follows_done(server: LiveServer) -> None:
    assert chat(server, stream=True).content.endswith(b"data: [DONE]\n\n")


def test_10_a_generation_that_dies_is_an_error(server: LiveServer) -> None:
    *_, last, done = blocks(chat(server, "fail", stream=True))
    assert done == "[DONE]"
    assert "error" in json.loads(last)
    answer = chat(server, "fail")
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert "ValueError" in answer.json()["error"]["message"]


def test_11_a_wrong_request_for_a_stream_gets_its_status_before(server: LiveServer) -> None:
    refused(chat(server, stream=True, temperature=9))
    long = chat(server, "word " * 5000, stream=True)
    error = refused(long)
    assert error["code"] == "context_length_exceeded"
    assert "This model's maximum context length is 4096 tokens" in error["message"]
    assert "prompt is too long" in error["message"]


def test_12_an_error_in_mid_stream_is_data(server: LiveServer) -> None:
    assert '\n\ndata: {"error":' in chat(server, "fail", stream=True).text


# 13 to 17, keep-alives, are in test_framing.py, 32, scores of a prompt, in test_storyteller.py,
# 37, calls in a stream, in test_tools.py.
def test_every_case_has_a_test() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    found = re.findall(r"^def test_(\d\d)_", "\n".join(map(Path.read_text, files)), re.M)
    assert sorted({int(each) for each in found}) == list(range(1, 42))


OPTIONAL = (
    "model temperature top_p top_k min_p repetition_penalty frequency_penalty presence_penalty "
    "logit_bias seed n stop max_tokens stream stream_options logprobs top_logprobs user metadata "
    "tools tool_choice response_format functions suffix"
)


@pytest.mark.parametrize("field", OPTIONAL.split())
def test_18_null_is_absence(server: LiveServer, field: str) -> None:
    body: dict[str, Any] = {"max_completion_tokens": 1, field: None}
    assert "ignored" not in chat(server, **body).json()["minivault"]


def test_19_values_that_ask_for_nothing_are_accepted(server: LiveServer) -> None:
    neutral: dict[str, Any] = {"best_of": 1, "suffix": "", "stop": "", "logit_bias": {}, "n": 1}
    assert texts(server, max_tokens=1, **neutral).status_code == 200
    neutral = {"tools": [], "tool_choice": "none", "modalities": ["text"], "functions": []}
    assert chat(server, max_tokens=1, **neutral).status_code == 200


def test_20_response_format_text_is_no_news(server: LiveServer) -> None:
    answer = chat(server, max_tokens=1, response_format={"type": "text"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "form, field",
    [
        ({"type": "json_object"}, "response_format"),  # this backend constrains no texts
        ({"type": "json_schema"}, "response_format"),
        ({"type": "xml"}, "response_format.type"),
        ("json", "response_format"),
    ],
)
def test_21_a_response_format_that_cannot_be_done_is_refused(
    server: LiveServer, form: Any, field: str
) -> None:
    error = refused(chat(server, response_format=form))
    assert error["param"] == field
    assert '{"type": "text"}' in error["message"]


def test_22_an_assistant_without_content_is_valid(server: LiveServer) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}]
    messages += [{"role": "tool", "tool_call_id": "1", "content": "42"}]
    assert post(server, CHAT, messages=messages, max_tokens=1).status_code == 200
    # A model without a chat template reads the call as text.
    assert server.records()[-1]["prompt"].endswith('{"name": "f", "arguments": {}}\n42')


def test_23_a_developer_is_a_system(server: LiveServer) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *HELLO]
    assert post(server, CHAT, messages=messages, max_tokens=1).status_code == 200
    assert server.records()[-1]["messages"][0]["role"] == "system"


def test_24_errors_lie_under_error_and_never_in_a_200(server: LiveServer) -> None:
    refused(post(server, CHAT), 400)


def test_25_both_names_limit(server: LiveServer) -> None:
    cases: list[tuple[dict[str, Any], int]] = [
        ({"max_tokens": 2}, 2),
        ({"max_completion_tokens": 2}, 2),
        ({"max_tokens": 5, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 3, "max_completion_tokens": 5}, 3),
    ]
    for limits, made in cases:
        assert chat(server, **limits).json()["usage"]["completion_tokens"] == made
    assert texts(server).json()["usage"]["completion_tokens"] == 16
    cut = texts(server, max_tokens=10**6, prompt="a").json()
    assert cut["minivault"]["params"]["max_tokens"] == 4095
    assert cut["minivault"]["params"]["max_tokens_requested"] == 10**6


def test_26_a_prompt_that_is_too_long_is_an_error(server: LiveServer) -> None:
    assert refused(texts(server, "word " * 4096))["code"] == "context_length_exceeded"


def test_27_an_unknown_model_is_404(server: LiveServer) -> None:
    error = refused(chat(server, model="gpt-3"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "actor serves" in error["message"]
    for known in ("actor", "gpt-4o"):
        assert chat(server, model=known, max_tokens=1).json()["model"] == "actor"


def test_28_models_are_listed_and_shown(server: LiveServer) -> None:
    listed = ask(server, "GET", "/v1/models").json()
    assert [each["id"] for each in listed["data"]] == ["actor", "gpt-4o"]
    shown = ask(server, "GET", "/v1/models/actor").json()
    assert shown == listed["data"][0]
    assert (shown["object"], shown["created"]) == ("model", 1_700_000_000)
    assert shown["max_model_len"] == 4096


@pytest.mark.parametrize(
    "prompt, count",
    [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1, 2], [3]], 2), (["a", [1]], 2), ("", 0)],
)
def test_29_a_prompt_has_many_forms(server: LiveServer, prompt: Any, count: int) -> None:
    answer = texts(server, prompt, max_tokens=2)
    if not count:  # this backend has no token that texts begin with
        assert refused(answer)["param"] == "prompt"
        return
    found = answer.json()["choices"]
    assert [each["index"] for each in found] == list(range(count))
    if prompt == [1, 2]:
        assert server.records()[-1]["private"] == {"tokens": [1, 2]}
        assert server.records()[-1]["prompt"] == "t1 t2"


def test_30_log_probabilities_have_the_shape_of_their_door(server: LiveServer) -> None:
    found = chat(server, "a b", logprobs=True, top_logprobs=1, max_tokens=2, seed=1).json()
    entries = found["choices"][0]["logprobs"]["content"]
    assert "".join(each["token"] for each in entries) == found["choices"][0]["message"]["content"]
    assert entries[0]["bytes"] == list(entries[0]["token"].encode())
    assert len(entries[0]["top_logprobs"]) == 1
    legacy = texts(server, "a b", logprobs=1, max_tokens=2, seed=1).json()["choices"][0]
    assert legacy["logprobs"]["tokens"] == [each["token"] for each in entries]
    assert legacy["logprobs"]["text_offset"] == [3, 5]
    assert all(len(each) <= 2 for each in legacy["logprobs"]["top_logprobs"])
    assert texts(server, max_tokens=1).json()["choices"][0]["logprobs"] is None


def test_31_log_probabilities_also_without_alternatives_and_streamed(server: LiveServer) -> None:
    whole = chat(server, logprobs=True, max_tokens=3, seed=1).json()["choices"][0]
    assert [each["top_logprobs"] for each in whole["logprobs"]["content"]] == [[], [], []]
    streamed = choices(chunks(chat(server, logprobs=True, max_tokens=3, seed=1, stream=True)))
    parts = [each["logprobs"]["content"] for each in streamed if each["logprobs"]]
    assert [entry for part in parts for entry in part] == whole["logprobs"]["content"]
    legacy = texts(server, logprobs=0, max_tokens=2).json()["choices"][0]["logprobs"]
    assert [len(each) for each in legacy["top_logprobs"]] == [1, 1]
    offsets = [
        each["logprobs"]["text_offset"]
        for each in choices(chunks(texts(server, "a b", logprobs=0, max_tokens=3, stream=True)))
        if each["logprobs"]
    ]
    assert offsets == [[3], [5], [7]]


def test_33_half_a_character_tells_its_bytes(server: LiveServer) -> None:
    found = chat(server, "emoji", logprobs=True).json()["choices"][0]
    entries = found["logprobs"]["content"]
    assert [bytes(each["bytes"]) for each in entries][:2] == [b"\xf0\x9f", b"\x9a\x80"]
    assert (
        b"".join(bytes(each["bytes"]) for each in entries).decode() == (found["message"]["content"])
    )
    legacy = texts(server, "emoji", logprobs=1).json()["choices"][0]["logprobs"]
    assert legacy["tokens"][:2] == ["bytes:\\xf0\\x9f", "bytes:\\x9a\\x80"]
    assert Completion().logprobs([], 0)["tokens"] == []


def test_34_log_probabilities_go_with_tools_and_streams(server: LiveServer) -> None:
    answer = chat(server, logprobs=True, stream=True, tools=[], tool_choice="none", max_tokens=1)
    assert choices(chunks(answer))[1]["logprobs"]["content"]


def test_35_no_half_of_an_emoji_is_sent(server: LiveServer) -> None:
    assert said(chunks(chat(server, "emoji", stream=True))) == "\N{ROCKET}\u2028!"


def test_36_the_same_seed_gives_the_same_text_by_every_door(server: LiveServer) -> None:
    words = "one two three four five six seven"
    for seed in (0, 3, -5, 2**63):
        found = {
            chat(server, words, seed=seed, max_tokens=5).json()["choices"][0]["message"]["content"],
            texts(server, words, seed=seed, max_tokens=5).json()["choices"][0]["text"],
            said(chunks(chat(server, words, seed=seed, max_tokens=5, stream=True))),
            ask(
                server,
                "POST",
                "/generate",
                json={"prompt": words, "seed": seed % 2**53, "max_tokens": 5},
            ).text,
        }
        assert len(found) == 1
    many = texts(server, words, seed=7, n=3, max_tokens=5).json()
    assert [each["seed"] for each in many["minivault"]["choices"]] == [7, 8, 9]
    alone = [texts(server, words, seed=seed, max_tokens=5).json() for seed in (7, 8, 9)]
    assert [each["choices"][0]["text"] for each in alone] == [
        each["text"] for each in many["choices"]
    ]
    listed = texts(server, ["other", words], seed=7, n=2, max_tokens=5).json()
    assert [each["seed"] for each in listed["minivault"]["choices"]] == [7, 8, 7, 8]
    assert listed["choices"][2]["text"] == many["choices"][0]["text"]


def test_38_a_preflight_allows_any_header(server: LiveServer, actor: Actor) -> None:
    """Only for origins that are trusted: see tests/web/middleware/test_cross_site.py."""
    assert "access-control-allow-origin" not in ask(server, "OPTIONS", CHAT).headers


def test_39_a_base_url_without_v1_is_explained(server: LiveServer) -> None:
    for path in ("/chat/completions", "/completions", "/responses"):
        error = refused(ask(server, "POST", path, json={}), 404)
        assert error["message"].endswith(f"set it to {server.url}/v1")


def test_40_length_where_max_tokens_ends_it(server: LiveServer) -> None:
    assert chat(server, max_tokens=1).json()["choices"][0]["finish_reason"] == "length"
    assert chat(server, "emoji").json()["choices"][0]["finish_reason"] == "stop"


def test_41_a_quotation_mark_in_an_error_stays_json(server: LiveServer) -> None:
    body: dict[str, Any] = {'a "quoted" tempratur': 1, "temperatur": 1}
    error = refused(chat(server, **body))
    assert error["message"] == "temperatur: is no field of this request; temperature may be meant"
    body = {'"x"': 1}
    assert chat(server, max_tokens=1, **body).json()["minivault"]["ignored"] == ['"x"']
