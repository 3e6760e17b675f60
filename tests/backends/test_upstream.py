"""Texts of upstream servers: as they come, when one is lost, and what the record says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend, backend, server
from minivault.client import AsyncClient, Client
from minivault.errors import (
    CannotStart,
    Incomplete,
    InvalidRequest,
    PromptTooLong,
    Unavailable,
)
from minivault.settings import Settings
from tests.backends.upstream_servers import Scripted, scripted
from tests.live import LiveServer, live_server, wait_for

PLAIN: dict[str, Any] = {"temperature": 1.0, "repetition_penalty": 1.0}


def words(seed: int, count: int, *, word: str = "w") -> str:
    return "".join(f" {word}{seed + n}" for n in range(count))


@contextmanager
def door(folder: Path, *scripts: Scripted, **options: Any) -> Iterator[tuple[LiveServer, Client]]:
    """A MiniVault before these servers, and a client of it."""
    upstream = UpstreamBackend([each.url for each in scripts], **options)
    with live_server(folder, upstream) as live, Client(live.url) as client:
        yield live, client


def text(client: Client, seed: int = 100, tokens: int = 20, **more: Any) -> str:
    return str(client.generate("Hello", seed=seed, max_tokens=tokens, **PLAIN, **more))


def test_a_text_comes_as_it_is_made_and_its_record_says_from_whom(tmp_path: Path) -> None:
    with scripted() as one, door(tmp_path, one) as (live, client):
        assert text(client) == words(100, 20)
        assert text(client, stop=["w105"]) == words(100, 5) + " "
        wait_for(lambda: one.running == 0)  # hung up at the stop string
        body = one.bodies[0]
        assert (body["seed"], body["max_tokens"], body["top_k"]) == (100, 20, 50)
        assert "stop" not in body
        record = live.records()[0]
        assert record["engine"]["runner"] == "upstream"
        assert record["engine"]["fingerprint"] == "fp-1"
        assert record["engine"]["reproducible"] is False
        assert record["usage"] == {"prompt_tokens": 1, "completion_tokens": 20}
        assert "before temperature" in record["engine"]["logprobs"]
        assert "cannot be replayed" in str(client.health())
        assert client.replay(1)["verdict"] == "same"  # here; nobody promises it


@pytest.mark.parametrize("fault", [{"cut_after": 7}, {"stall_after": 7}])
@pytest.mark.parametrize("ids", [True, False])
def test_another_server_goes_on_and_the_record_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, int], ids: bool
) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.3)
    monkeypatch.setattr(backend, "SILENCE", 0.3)
    with (
        scripted(ids=ids, **fault) as bad,
        scripted(ids=ids) as good,
        door(tmp_path, bad, good) as (live, client),
    ):
        for _ in range(8):
            answer = client.generate("Hello", seed=100, max_tokens=20, **PLAIN).read()
            assert answer.text == words(100, 20)  # token n has the same name everywhere
            if good.bodies and "splices" in live.records()[-1]["engine"]:
                break
        engine = live.records()[-1]["engine"]
        assert engine["splices"] == [{"at": 7, "from": bad.url, "to": good.url}]
        assert engine["reproducible"] is False
        spliced = next(each for each in good.bodies if each["seed"] == 107)
        went_on = [1, 2, *range(100, 107)] if ids else "Hello" + words(100, 7)
        assert (spliced["prompt"], spliced["max_tokens"]) == (went_on, 13)
        good.word = "other"
        bad.status = 503
        verdict = client.replay(live.records()[-1]["seq"])
        assert verdict["verdict"] == "not reproducible"
        assert "at token 7" in verdict["why"]


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


def test_a_text_made_again_in_other_chunks_is_the_same_text(tmp_path: Path) -> None:
    with (
        scripted(cut_after=7) as bad,
        scripted(merged=3) as good,
        door(tmp_path, bad, good, same_bytes=True) as (_, client),
    ):
        assert [text(client) for _ in range(6)] == [words(100, 20)] * 6
        assert any(each["max_tokens"] == 20 for each in bad.bodies)


def test_servers_of_the_same_bytes_make_it_again_and_it_replays(tmp_path: Path) -> None:
    with (
        scripted(cut_after=7) as bad,
        scripted() as good,
        door(tmp_path, bad, good, same_bytes=True) as (live, client),
    ):
        texts = [text(client) for _ in range(6)]
        assert texts == [words(100, 20)] * 6
        assert all("splices" not in each["engine"] for each in live.records())
        assert live.records()[0]["engine"]["reproducible"] is True
        assert any(each["max_tokens"] == 20 for each in bad.bodies)
        assert all(each["max_tokens"] == 20 for each in good.bodies)


def test_a_server_that_lies_about_its_bytes_is_found_out(tmp_path: Path) -> None:
    with (
        scripted(cut_after=7) as bad,
        scripted(word="lie") as liar,
        door(tmp_path, bad, liar, same_bytes=True) as (live, client),
    ):
        ends = []
        for _ in range(8):
            try:
                text(client)
            except Incomplete as error:
                ends.append(error)
        assert any("came out differently" in str(error) for error in ends)
        assert all(
            len(each["engine"]) == len(live.records()[0]["engine"]) for each in live.records()
        )


def test_without_splices_a_lost_text_fails_with_what_came(tmp_path: Path) -> None:
    with scripted(cut_after=7) as bad, door(tmp_path, bad, splice=False) as (_, client):
        with pytest.raises(Incomplete, match="no other may go on") as raised:
            text(client)
        assert raised.value.text == words(100, 7)


def test_a_busy_server_is_passed_over_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(backend, "PATIENCE", 0.5)
    with scripted() as one, scripted() as two, door(tmp_path, one, two) as (live, client):
        one.status = 529
        assert [text(client) for _ in range(4)] == [words(100, 20)] * 4
        assert not one.bodies or len(one.bodies) < len(two.bodies)
        two.status = 503
        one.status = 503
        with pytest.raises(Incomplete):
            text(client)
        with pytest.raises(Unavailable, match="engine does not work"):
            client.health()
        one.status = two.status = 200
        wait_for(lambda: live.service.problem() is None)
        before = len(one.bodies) + len(two.bodies)
        assert text(client) == words(100, 20)
        assert len(one.bodies) + len(two.bodies) == before + 1


def test_what_the_request_is_to_blame_for_is_told_without_its_words(tmp_path: Path) -> None:
    with scripted() as one, door(tmp_path, one) as (live, client):
        one.status = 400
        with pytest.raises(Incomplete, match=r"refused with 400 \(invalid_request_error, prompt\)"):
            text(client)
        assert "SECRET" not in live.log.read_text()
        one.status = 200
        assert text(client) == words(100, 20)  # no circuit opened


def test_more_than_a_server_takes_wait_in_the_queue(tmp_path: Path) -> None:
    with scripted(delay=0.01) as one, door(tmp_path, one, limit=2) as (_, client):
        most = 0

        async def crowd() -> None:
            nonlocal most
            async with AsyncClient(client.url) as many:

                async def watched() -> None:
                    nonlocal most
                    async for _ in many.generate("Hello", seed=1, max_tokens=10, **PLAIN):
                        most = max(most, one.running)

                await asyncio.gather(*(watched() for _ in range(6)))

        asyncio.run(crowd())
        assert most == 2
        assert len(one.bodies) == 6


def test_a_start_without_a_server_or_with_unequal_ones_says_why(tmp_path: Path) -> None:
    async def started(*urls: str, **options: Any) -> UpstreamBackend:
        made = UpstreamBackend(list(urls), **options)
        try:
            await made.start()
        finally:
            await made.close()
        return made

    with pytest.raises(CannotStart, match=r"127\.0\.0\.1:9 does not answer"):
        asyncio.run(started("http://127.0.0.1:9"))
    with scripted() as one, scripted(fingerprint="fp-2") as two, scripted(model="b") as three:
        with pytest.raises(CannotStart, match="fingerprint fp-2, not fp-1"):
            asyncio.run(started(one.url, two.url, same_bytes=True))
        assert asyncio.run(started(one.url, two.url)).info.name == "scripted"
        half = asyncio.run(started(one.url + "/v1/", three.url))  # goes on with the one that fits
        assert half.statistics()["upstreams_working"] == 1


def test_the_options_are_read_and_contradictions_refused() -> None:
    settings = Settings(upstream=["http://127.0.0.1:9000", "https://gpu.example/v1"])
    assert len(settings.upstream) == 2
    with pytest.raises(ValueError, match="is no address of a server"):
        Settings(upstream=["gpu.example"])
    with pytest.raises(ValueError, match="takes the place of --model"):
        Settings(upstream=["http://127.0.0.1:9000"], model="storyteller")
