"""Responses, as OpenAI's own client asks for them: kept, continued, read again from any place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
import pytest

from tests.faults.cutproxy import CutProxy
from tests.live import LiveServer, live_server, wait_for
from tests.web.asking import ask
from tests.web.openai.stage import Actor, refused
from tests.web.openai.test_resume import forget

PATH = "/v1/responses"
BEFORE = ["created", "in_progress", "output_item.added", "content_part.added"]
AFTER = ["output_text.done", "content_part.done", "output_item.done"]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def names(events: Any) -> list[str]:
    return [each.type.removeprefix("response.") for each in events]


@pytest.fixture(scope="module")
def told(client: openai.OpenAI) -> list[Any]:
    """All events of one response."""
    return list(client.responses.create(model="", input="emoji", stream=True))


def test_a_stream_has_these_events_with_these_numbers(told: list[Any]) -> None:
    assert names(told) == [*BEFORE, "output_text.delta", "output_text.delta", *AFTER, "completed"]
    assert [each.sequence_number for each in told] == list(range(len(told)))


def test_the_bytes_of_an_event(server: LiveServer) -> None:
    stream = ask(server, "POST", PATH, json={"input": "emoji", "stream": True}).text
    *events, done, rest = stream.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(re.fullmatch(r"event: (response\.\w[\w.]+)\ndata: \{.*\}", each) for each in events)
    assert stream.isascii()
    item = json.loads(events[4].split("data: ")[1])
    assert {"content_index": 0, "output_index": 0, "logprobs": []}.items() <= item.items()
    assert item["item_id"].startswith("msg_")


@pytest.mark.parametrize(
    "after, kept",
    [*((n, True) for n in (0, 2, 3, 4, 5, 6, 8, 9, 30)), *((n, False) for n in (4, 2, 6, 9, 30))],
)
def test_what_comes_behind_a_number_is_the_rest(
    server: LiveServer, client: openai.OpenAI, told: list[Any], after: int, kept: bool
) -> None:
    id = told[0].response.id
    if not kept:
        forget(server, id.removeprefix("resp_"))
    rest = list(client.responses.retrieve(id, stream=True, starting_after=after))
    expected = told[after + 1 :]
    assert names(rest) == names(expected)
    assert [each.sequence_number for each in rest] == [each.sequence_number for each in expected]
    texts = [getattr(each, "delta", None) for each in rest]
    assert texts == [getattr(each, "delta", None) for each in expected]


def test_a_response_goes_on_from_another(server: LiveServer, client: openai.OpenAI) -> None:
    first = client.responses.create(
        model="", input="emoji", instructions="emoji", max_output_tokens=9
    )
    assert (first.status, first.output_text) == ("completed", "\N{ROCKET}\u2028!")
    forget(server, first.id.removeprefix("resp_"))
    second = client.responses.create(
        model="", input="and you", previous_response_id=first.id, max_output_tokens=2
    )
    assert (second.status, second.previous_response_id) == ("incomplete", first.id)
    assert second.incomplete_details is not None
    assert second.incomplete_details.reason == "max_output_tokens"
    messages = server.records()[-1]["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "user"]  # no instructions
    assert messages[1]["content"] == "\N{ROCKET}\u2028!"
    with client.responses.stream(model="", input="emoji") as stream:
        assert names(stream)[-1] == "completed"
        assert stream.get_final_response().output_text == "\N{ROCKET}\u2028!"


def test_one_in_the_background_goes_on_by_itself_until_it_is_cancelled(
    client: openai.OpenAI, actor: Actor
) -> None:
    made = client.responses.create(model="", input="wait", background=True)
    assert made.status in ("queued", "in_progress")
    assert client.responses.retrieve(made.id).status in ("queued", "in_progress")
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    actor.go_on.set()
    other = client.responses.create(model="", input="wait", background=True)
    wait_for(lambda: client.responses.retrieve(other.id).status == "completed")
    assert client.responses.retrieve(other.id).output_text == " before after"
    assert client.responses.cancel(other.id).status == "completed"
    actor.go_on.clear()


def test_the_record_has_what_tells_the_response_again(
    server: LiveServer, client: openai.OpenAI
) -> None:
    made = client.responses.create(
        model="",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "emoji"}]}],
        metadata={"run": "7"},
        include=["message.output_text.logprobs"],
        top_logprobs=1,
    )
    record = server.records()[-1]
    assert record["door"] == "openai.responses"
    assert record["private"] == {"metadata": {"run": "7"}}
    forget(server, record["id"])
    assert client.responses.retrieve(made.id).to_dict() == made.to_dict()
    assert made.output[0].to_dict()["content"][0]["logprobs"]  # type: ignore[index]


def test_a_failure_is_told_as_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="ValueError"):
        client.responses.create(model="", input="fail")
    events = list(client.responses.create(model="", input="fail", stream=True))
    assert names(events)[-1] == "failed"
    assert events[-1].response.error.message == "the backend raised ValueError"  # type: ignore


def test_an_input_is_counted(server: LiveServer) -> None:
    asked = ask(server, "POST", f"{PATH}/input_tokens", json={"input": "a b c"})
    assert asked.json() == {"object": "response.input_tokens", "input_tokens": 3}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "must be a string"),
    ({"input": []}, "input", "1 to 1000 items"),
    ({"input": [{"role": "x", "content": "a"}]}, "input.0.role", "user or assistant"),
    ({"input": [{"role": "user"}]}, "input.0.content", "must be a string"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type", '"message"'),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input.0.content.0.type",
        "reads no images",
    ),
    ({"input": "x", "previous_response_id": "resp_y"}, "previous_response_id", "is not here"),
    ({"input": "x", "max_output_tokens": 0}, "max_output_tokens", "at least 1"),
    ({"input": "x", "max_tokens": 5}, "max_tokens", "max_output_tokens says"),
    ({"input": "x", "response_format": {"type": "text"}}, "response_format", "text.format says"),
    ({"input": "x", "n": 2}, "n", "must be 1"),
    ({"input": "x", "conversation": "c"}, "conversation", "leave it out"),
    ({"input": "x", "background": "yes"}, "background", "true or false"),
    ({"messages": []}, "messages", "/v1/chat/completions"),
]


@pytest.mark.parametrize("body, field, right", WRONG)
def test_a_wrong_request_is_told_what_is_right(
    server: LiveServer, body: dict[str, Any], field: str, right: str
) -> None:
    error = refused(ask(server, "POST", PATH, json=body))
    assert error["param"] == field
    assert right in error["message"]


def test_a_response_is_not_deleted_but_redacted(server: LiveServer, told: list[Any]) -> None:
    id = told[0].response.id
    assert "minivault logs redact" in refused(ask(server, "DELETE", f"{PATH}/{id}"))["message"]
    refused(ask(server, "GET", f"{PATH}/resp_x"), 404)
    wrong = ask(server, "GET", f"{PATH}/{id}?stream=true&starting_after=x")
    assert refused(wrong)["param"] == "starting_after"


def test_another_server_of_the_same_log_has_the_response(
    server: LiveServer, client: openai.OpenAI, told: list[Any]
) -> None:
    """It reads the log that both write; of a log of its own it says what it would take."""
    id = told[0].response.id
    with (
        live_server(server.service.settings.logs_dir.parent, Actor()) as other,
        openai.OpenAI(base_url=f"{other.url}/v1", api_key="none", max_retries=0) as there,
    ):
        found = there.responses.retrieve(id)
        assert found.output_text == "\N{ROCKET}\u2028!"
        assert found.to_dict() == client.responses.retrieve(id).to_dict()
        rest = list(there.responses.retrieve(id, stream=True, starting_after=3))
        assert "".join(getattr(each, "delta", "") for each in rest) == found.output_text
        next_one = there.responses.create(model="", input="x", previous_response_id=id)
        assert next_one.previous_response_id == id


def test_another_server_with_a_log_of_its_own_says_what_it_lacks(
    server: LiveServer, told: list[Any], tmp_path: Path
) -> None:
    secret = server.service.settings.logs_dir / "secret"
    with live_server(tmp_path, Actor(), secret_file=secret) as other:
        error = refused(ask(other, "GET", f"{PATH}/{told[0].response.id}"), 404)
        assert "--logs-dir" in error["message"]
        assert "POST the same request" in error["message"]


@pytest.mark.parametrize("mode", ["fin", "rst"])
def test_a_stream_that_is_cut_again_and_again_goes_on(
    server: LiveServer, client: openai.OpenAI, mode: Literal["fin", "rst"]
) -> None:
    asked: dict[str, Any] = {"model": "", "input": "one two three", "extra_body": {"seed": 3}}
    asked |= {"max_output_tokens": 90}
    whole = client.responses.create(**asked).output_text
    cut = CutProxy(server.port, after_bytes=9000, times=3, mode=mode, path="responses")
    with (
        cut as proxy,
        openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key="none") as there,
    ):
        heard, text, id, last = -1, "", "", ""
        stream = there.responses.create(stream=True, background=True, **asked)
        while last not in ("response.incomplete", "response.completed"):
            with suppress(httpx2.TransportError, openai.APIConnectionError):
                for event in stream:
                    assert event.sequence_number == heard + 1
                    heard, last = event.sequence_number, event.type
                    id = event.response.id if event.type == "response.created" else id
                    text += event.delta if event.type == "response.output_text.delta" else ""
            stream = there.responses.retrieve(id, stream=True, starting_after=heard)
        stream.close()
        assert proxy.cuts == 3
    assert text == whole
