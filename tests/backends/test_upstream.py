"""Texts of upstream servers: as they come, when one is lost, and what the record says of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend, backend, server
from minivault.client import AsyncClient
from minivault.errors import CannotStart, Incomplete, Unavailable
from minivault.settings import Settings
from tests.backends.upstream_servers import PLAIN, door, scripted, text, words
from tests.live import wait_for


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
