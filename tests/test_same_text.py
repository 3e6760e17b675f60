"""One text in four places, byte for byte, and the same again for the same seed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.backends.local import LocalBackend
from minivault.model_store.model import read_model
from minivault.settings import Settings
from tests.engine.small_models import save_model
from tests.event_stream import parse, text_of
from tests.live import LiveServer, live_server
from tests.model_store.repository import STORYTELLER
from tests.processes import minivault
from tests.web.asking import JSON, SSE, TEXT

pytestmark = pytest.mark.slow

#: Every byte of the vocabulary may be drawn, so that a text often ends inside a character.
WILD: dict[str, Any] = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}

PROMPTS = [
    "Once upon a time",
    "🧚‍♀️🧚🏽 The fairy 👩‍👩‍👧 said",
    "昔々、あるところに、お爺さんと",
    "Le\u0301a e\u0301tait i\u0302le n\u0303 a\u0308\u0304",
    "שָׁלוֹם עֲלֵיכֶם \u202emarhaba\u202c مرحبا",
    "\ufeff\x00\r\n\t\u2028 \u00ad\u200b",
]

Body = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """One request as its client and the log saw it."""

    text: bytes
    id: str
    finish_reason: str | None = None


def storyteller() -> LocalBackend:
    return LocalBackend(Settings(threads=1), read_model("storyteller", STORYTELLER))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("same"), storyteller()) as live:
        yield live


def tell(server: LiveServer, *requests: tuple[str, Body]) -> list[Told]:
    """All of them at once; each is a form and a body."""

    async def one(client: httpx.AsyncClient, accept: str, body: Body) -> Told:
        answer = await client.post("/generate", json=body, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return told(accept, answer)

    async def everything() -> list[Told]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=server.url, timeout=120, trust_env=False, verify=False, limits=limits
        ) as client:
            return await asyncio.gather(*(one(client, *each) for each in requests))

    return asyncio.run(everything())


def told(accept: str, answer: httpx.Response) -> Told:
    if accept == TEXT:
        return Told(answer.content, answer.headers["minivault-id"])
    if accept == JSON:
        data = answer.json()
        return Told(data["text"].encode(), data["id"], data["finish_reason"])
    events = parse(answer.content)
    pieces = [each for each in events if each.name == "message"]
    assert all(each.json["text"] for each in pieces)
    end = events[-1].json["finish_reason"]
    return Told(text_of(events).encode(), events[0].json["id"], end)


def in_every_form(server: LiveServer, bodies: Sequence[Body]) -> list[str]:
    """The texts, after comparing them in all three forms and with the log."""
    forms = (SSE, JSON, TEXT)
    found: list[str] = []
    for start in range(0, len(bodies), 10):
        some = bodies[start : start + 10]
        answers = tell(server, *((form, body) for body in some for form in forms))
        logged = {record["id"]: record["response"].encode() for record in server.records()}
        for body, *three in zip(some, *(answers[i::3] for i in range(3)), strict=True):
            texts = {each.text for each in three} | {logged[each.id] for each in three}
            assert len(texts) == 1, (body, texts)
            found.append(three[0].text.decode())
    return found


@pytest.mark.parametrize("prompt", PROMPTS, ids=["ascii", "emoji", "cjk", "marks", "rtl", "odd"])
def test_stream_plain_text_json_and_log_are_equal(server: LiveServer, prompt: str) -> None:
    extras: list[Body] = [{}, WILD, {**WILD, "top_logprobs": 3}, {"temperature": 0}]
    bodies = [
        {"prompt": prompt, "seed": seed, "max_tokens": 12, **extra}
        for seed, extra in enumerate(extras)
    ]
    assert all(in_every_form(server, bodies))


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serves a model whose tokens are mostly single bytes, with random weights."""
    folder = tmp_path_factory.mktemp("bytewise")
    model = read_model("bytewise", save_model("llama", folder / "model"))
    with live_server(folder, LocalBackend(Settings(threads=1), model)) as live:
        yield live


@pytest.mark.parametrize("fixture", ["server", "bytewise"])
def test_texts_that_are_cut_inside_a_character_are_equal_too(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    live: LiveServer = request.getfixturevalue(fixture)
    bodies: list[Body] = [
        {"prompt": PROMPTS[1 + seed % 4], "seed": seed, "max_tokens": 1 + seed % 5, **WILD}
        for seed in range(30)
    ]
    texts = in_every_form(live, [{**body, "top_logprobs": body["seed"] % 2} for body in bodies])
    if fixture == "bytewise":
        assert sum(text.endswith("\ufffd") for text in texts) >= 10


def test_a_text_of_broken_characters_stops_at_a_stop_string_all_the_same(
    bytewise: LiveServer,
) -> None:
    base: Body = {"prompt": "Once", "max_tokens": 40, **WILD}
    seeds = range(8)
    whole = in_every_form(bytewise, [{**base, "seed": seed} for seed in seeds])
    stops = [text[len(text) // 2 :][:2] for text in whole]
    bodies = [{**base, "seed": seed, "stop": [stops[seed]]} for seed in seeds if stops[seed]]
    expected = [whole[seed].partition(stops[seed])[0] for seed in seeds if stops[seed]]
    assert in_every_form(bytewise, bodies) == expected


def test_a_stop_string_may_begin_and_end_inside_of_tokens(server: LiveServer) -> None:
    base = {"prompt": "Once upon a time there was", "max_tokens": 20, "top_logprobs": 2}
    seeds = range(4)
    whole = in_every_form(server, [base | {"seed": seed} for seed in seeds])
    cuts = [
        (seed, whole[seed][start : start + length])
        for seed in seeds
        for start in range(3 + seed, len(whole[seed]) - 8, 17)
        for length in (1, 4, 7)
    ]
    bodies = [base | {"seed": seed, "stop": ["never said", stop]} for seed, stop in cuts]
    for (seed, stop), text in zip(cuts, in_every_form(server, bodies), strict=True):
        assert text == whole[seed].partition(stop)[0]


def test_half_a_stop_string_at_the_end_is_said(server: LiveServer) -> None:
    base = {"prompt": "Once upon a time there was", "max_tokens": 9, "seed": 3}
    [whole] = in_every_form(server, [base])
    stops = [whole[-length:] + "never said" for length in (1, 3, 6)]
    assert in_every_form(server, [base | {"stop": [stop]} for stop in stops]) == [whole] * 3


def test_the_same_seed_says_the_same_alone_in_company_by_command_and_after_a_restart(
    server: LiveServer, tmp_path: Path
) -> None:
    body: Body = {"prompt": "The queen said", "seed": 2**53 - 1, "max_tokens": 24}
    [alone] = tell(server, (JSON, body))
    others = [(TEXT, body | {"seed": seed, "max_tokens": 10 + seed}) for seed in range(15)]
    among = tell(server, *others[:7], (SSE, body), *others[7:])[7]
    with live_server(tmp_path, storyteller()) as again:
        [restarted] = tell(again, (TEXT, body))
    assert alone.text == among.text == restarted.text
    assert {alone.finish_reason, among.finish_reason} == {"length"}
    assert by_command(tmp_path, body) == alone.text.decode()


def by_command(folder: Path, body: Body) -> str:
    options = ["--seed", str(body["seed"]), "--max-tokens", str(body["max_tokens"]), "--json"]
    done = minivault(
        *("generate", "--model", "storyteller", "--threads", "1", *options, body["prompt"]),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    text: str = json.loads(done.stdout)["text"]
    return text
