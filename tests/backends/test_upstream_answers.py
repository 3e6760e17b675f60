"""Conversations, log probabilities and counts, as upstream servers tell them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minivault.backends.upstream.server import UpstreamServer
from minivault.errors import Incomplete, InvalidRequest, PromptTooLong
from tests.backends.upstream_servers import PLAIN, door, scripted, text, words

MESSAGES = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello you"}]


@pytest.mark.parametrize("owner, ids", [("vllm", True), ("llamacpp", False), ("me", False)])
def test_a_conversation_goes_by_the_servers_own_template(
    tmp_path: Path, owner: str, ids: bool
) -> None:
    """And on at another server, where that can take up an answer."""
    options: dict[str, Any] = {"owner": owner, "ids": ids, "chat": True}
    with (
        scripted(cut_after=7, **options) as bad,
        scripted(**options) as good,
        door(tmp_path, bad, good) as (live, client),
    ):
        assert client.health()["model"]["chat"] is True
        asked: dict[str, Any] = {"messages": MESSAGES, "seed": 100, "max_tokens": 20, **PLAIN}
        for _ in range(8):
            try:
                answer = client.generate(**asked).read().text
            except Incomplete as error:
                ended = str(error)
                break
            assert answer == words(100, 20)
            if "splices" in live.records()[-1]["engine"]:
                ended = "spliced"
                break
        assert ("cannot go on in the middle of an answer" in ended) == (owner == "me")
        first = next(each for each in bad.bodies if each["seed"] == 100)
        assert first["messages"] == MESSAGES
        record = live.records()[0]
        assert record["prompt"] == "Be brief\nHello you"
        assert [each["at"] for each in record["messages"]] == [[[0, 8]], [[9, 18]]]
        assert record["usage"]["prompt_tokens"] == (4 if owner == "vllm" else None)
        open_answer = [*MESSAGES, {"role": "assistant", "content": "Well,"}]
        if owner == "me":
            with pytest.raises(InvalidRequest, match="must not end with the assistant's"):
                client.generate(**asked | {"messages": open_answer}).read()
            return
        spliced = next(each for each in good.bodies if each["seed"] == 107)
        if ids:
            assert spliced["prompt"] == [1, 2, *range(100, 107)]
        else:
            assert spliced["messages"][-1] == {"role": "assistant", "content": words(100, 7)}
        bad.cut_after = None
        client.generate(**asked | {"messages": open_answer}).read()
        every = bad.bodies + good.bodies
        last = next(each for each in every if each.get("messages") == open_answer)
        assert last.get("continue_final_message") is (True if owner == "vllm" else None)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 404, 501])
def test_a_server_in_trouble_is_not_taken_for_one_without_a_chat_template(status: int) -> None:
    async def play() -> None:
        async with httpx2.AsyncClient(trust_env=False) as http:
            server = UpstreamServer(one.url, http, 1)
            one.chat_status = status
            await server.probe()
            assert (server.problem is None) == (status in (404, 501))
            assert not (server.facts and server.facts.chat)
            one.chat_status = 200
            await server.probe()
            assert server.facts
            assert server.facts.chat

    with scripted(chat=True) as one:
        asyncio.run(play())


@pytest.mark.parametrize("chat", [True, False])
def test_log_probabilities_and_steering_reach_the_server_and_come_back(
    tmp_path: Path, chat: bool
) -> None:
    with scripted(chat=chat) as one, door(tmp_path, one) as (live, client):
        openai: Any = client.openai()
        steering: dict[str, Any] = {"seed": 100, "max_tokens": 2, "presence_penalty": 0.5}
        if chat:
            answer = openai.chat.completions.create(
                model="scripted", messages=MESSAGES, logprobs=True, top_logprobs=2, **steering
            )
            entries = answer.choices[0].logprobs.content
            assert [each.token for each in entries] == [" w100", " w101"]
            top = {each.token: each.logprob for each in entries[0].top_logprobs}
        else:
            text = openai.completions.create(
                model="scripted", prompt="Hi", logprobs=2, extra_body={"min_p": 0.1}, **steering
            )
            assert text.choices[0].logprobs.tokens == [" w100", " w101"]
            top = text.choices[0].logprobs.top_logprobs[0]
            assert one.bodies[0]["min_p"] == 0.1
        assert top == {" w100": -0.5, " y": -2.0}
        assert one.bodies[0]["presence_penalty"] == 0.5
        assert "frequency_penalty" not in one.bodies[0]
        with pytest.raises(Exception, match="tells none of the prompt"):
            openai.completions.create(model="scripted", prompt="Hi", logprobs=1, echo=True)


def test_prompts_are_counted_by_whichever_server_works(tmp_path: Path) -> None:
    with scripted() as one, scripted() as two, door(tmp_path, one, two) as (live, client):
        with pytest.raises(PromptTooLong, match="2000 tokens"):
            client.generate("word " * 2000, max_tokens=1).read()
        one.status = 503
        assert text(client) == words(100, 20)
        assert live.records()[-1]["usage"]["prompt_tokens"] == 1
    with scripted(owner="somebody") as one, door(tmp_path / "other", one) as (live, client):
        assert "prompts are not counted" in str(client.health())
        one.merged = 2  # so that fewer chunks come than tokens
        assert text(client) == words(100, 20)
        assert live.records()[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 20}
        assert "repetition_penalty" not in one.bodies[0]  # neutral, and unknown to OpenAI's own
