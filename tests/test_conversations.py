"""Conversations with a real server: recorded, replayed, refused, and never in anybody's way."""

from __future__ import annotations

import json
import select
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from minivault.backends.base import Rendered
from minivault.generations.prompt import recorded_prompt
from minivault.vault import Record
from tests.engine.small_models import STORYTELLER
from tests.processes import Served, minivault, read_to_end, serving

TEMPLATE = (
    "{% for each in messages %}{% if each.content == 'for ever' %}"
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    "{% if each.content == 'wrong' %}{{ each.content + 1 }}{% endif %}"
    "{{ each.content }}<|endoftext|>{% endfor %}"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("conversations")
    model = shutil.copytree(STORYTELLER, folder / "chatty")
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    with serving(folder, "--model", "./chatty") as served:
        yield served


def say(server: Served, **body: Any) -> dict[str, Any]:
    answer = read_to_end(server.post("application/json", **{"max_tokens": 8} | body))
    told: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return told


def talk(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.slow
def test_the_first_conversations_may_come_at_once(server: Served) -> None:
    asked = [server.post("application/json", messages=talk("Once"), max_tokens=2) for _ in range(8)]
    assert all(read_to_end(each).startswith(b"HTTP/1.1 200 ") for each in asked)


@pytest.mark.slow
def test_words_are_recorded_as_they_are_and_replayed(server: Served) -> None:
    content = "Once <|endoftext|> upon \ufdd0 a \u200b time"
    said = say(server, messages=talk(content), seed=3)
    record = server.records()[said["receipt"]["seq"] - 1]
    assert record["prompt"] == f"{content}<|endoftext|>"
    assert record["messages"] == [{**talk(content)[0], "at": [[0, len(content)]]}]
    replayed = minivault("logs", "replay", str(said["receipt"]["seq"]), cwd=server.folder)
    assert "is the same" in replayed.stdout
    raw = say(server, prompt="\ufdd0<|endoftext|>Once", seed=3)
    assert raw["usage"]["prompt_tokens"] > 6  # the name is text, and so is the mark of old


@pytest.mark.slow
def test_what_a_template_raises_is_the_requests_error(server: Served) -> None:
    told = say(server, messages=talk("wrong"))
    assert told["status"] == 422
    assert told["errors"][0]["field"] == "messages"
    assert "TypeError" in told["errors"][0]["message"]


@pytest.mark.slow
def test_templates_that_never_end_stop_nobody_and_not_the_shutdown(server: Served) -> None:
    hanging = [server.post("application/json", messages=talk("for ever")) for _ in range(4)]
    assert say(server, prompt="Once upon a time")["finish_reason"] == "length"
    unanswered = [each for each in hanging if not select.select([each], [], [], 0)[0]]
    assert unanswered, "it waited for four that take a second each"
    answers = [read_to_end(each) for each in hanging]
    assert all(b" 422 " in each.split(b"\r\n")[0] for each in answers)
    assert all(b"takes longer than 1 s" in each for each in answers)
    assert say(server, messages=talk("Once"))["finish_reason"] == "length"
    hanging = [server.post("application/json", messages=talk("for ever")) for _ in range(4)]
    assert server.stop() == 0
    for each in hanging:
        each.close()


@pytest.mark.parametrize("more", [{"messages": talk("hi")}, {"replays": 3}])
def test_a_conversation_of_the_first_version_is_read_as_it_was(more: dict[str, Any]) -> None:
    prompt = recorded_prompt(Record(1, "", {"prompt": "\ufdd0<s>hi</s>", **more}))
    assert isinstance(prompt, Rendered)
    assert prompt == "<s>hi</s>"
    assert all(each["at"] == [] for each in prompt.messages)


@pytest.mark.parametrize(
    "messages",
    ["hi", [1], [{"content": "hi"}], [{"at": [[0, 99]]}], [{"at": [[-1, 2]]}], [{"at": "abc"}]],
)
def test_a_record_that_makes_no_sense_is_a_plain_prompt(messages: Any) -> None:
    prompt = recorded_prompt(Record(1, "", {"prompt": "<s>hi</s>", "messages": messages}))
    assert type(prompt) is str
