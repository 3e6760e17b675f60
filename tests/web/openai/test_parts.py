"""Long answers are taken apart in a thread, by how many letters they have, not how many events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from minivault.backends.base import Finish, Part, Piece, Reader, Request
from minivault.background import in_thread
from minivault.engine.tokenizer import Tokenizer
from minivault.generations import Event
from minivault.vault import Record
from minivault.web.openai.parts import LETTERS, SLICE, Batch, slices
from minivault.web.openai.responses import telling
from tests.engine.chat_models import tokenizer_of
from tests.live import LiveServer, live_server, wait_for
from tests.web.asking import ask
from tests.web.openai.stage import CHAT, chunks, post
from tests.web.openai.test_resume import forget
from tests.web.openai.test_tools import CALL, RESPONSES, Scripted, body

LONG = f"<think>\n{'Hm. ' * 5000}</think>\n\n{'So: ' * 5000}\n{CALL}"
Fed = list[tuple[int, str]]


class Watched:
    """A reader that notes how much it got, and in which thread."""

    def __init__(self, reader: Reader, fed: Fed) -> None:
        self._reader, self._fed = reader, fed

    def feed(self, text: str) -> Sequence[Part]:
        self._fed.append((len(text), threading.current_thread().name))
        return self._reader.feed(text)

    def end(self) -> Sequence[Part]:
        return self._reader.end()


class AtOnce(Scripted):
    """Says all of it in one piece, and ends when it may."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self.may_end = threading.Event()
        self.may_end.set()

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        pieces = [each async for each in super().generate(request) if isinstance(each, Piece)]
        yield Piece("".join(each.text for each in pieces), len(pieces))
        await in_thread(self.may_end.wait)
        yield Finish()


@pytest.fixture(scope="module")
def fed() -> Fed:
    return []


@pytest.fixture(scope="module")
def backend() -> AtOnce:
    return AtOnce(tokenizer_of("calling"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, backend: AtOnce, fed: Fed
) -> Iterator[LiveServer]:
    make = backend.info.reader
    assert make

    def watched(request: Request) -> Reader | None:
        reader = make(request)
        return Watched(reader, fed) if reader else None

    backend.info = replace(backend.info, context_length=50_000, reader=watched)
    with live_server(tmp_path_factory.mktemp("server"), backend) as live:
        yield live


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("door", [CHAT, RESPONSES])
def test_a_long_answer_is_read_beside_the_loop(
    server: LiveServer, fed: Fed, door: str, known: bool
) -> None:
    fields: dict[str, Any] = body(LONG, stream=True)
    if door == RESPONSES:
        fields = {"input": LONG, "tools": fields["tools"], "stream": True}
    fed.clear()
    whole = post(server, door, **fields)
    if door == CHAT:
        deltas = [each["choices"][0]["delta"] for each in chunks(whole)]
        assert "".join(each.get("content", "") for each in deltas) == ("So: " * 5000)[:-1]
    if not known:
        id = server.records()[-1]["id"]
        forget(server, id)
        prefix = "chatcmpl-" if door == CHAT else "resp_"
        rest = ask(server, "GET", f"{door}/{prefix}{id}?stream=true&starting_after=0").text
        assert "function_call_arguments.done" in rest or "tool_calls" in rest
    assert max(fed)[0] > LETTERS
    assert all(name.startswith("asyncio_") for letters, name in fed if letters > LETTERS)


def test_a_response_that_ends_while_it_is_read_is_told_ended(
    server: LiveServer, backend: AtOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.may_end.clear()
    made = post(server, RESPONSES, input=CALL, tools=body()["tools"], background=True).json()
    generation = server.service.registry.find(made["id"].removeprefix("resp_"))
    assert generation
    wait_for(lambda: generation.last > 0)

    async def until_it_ends(work: Any, *arguments: Any) -> None:
        await in_thread(work, *arguments)
        backend.may_end.set()
        await generation.over()

    monkeypatch.setattr(telling, "in_thread", until_it_ends)
    told = ask(server, "GET", f"{RESPONSES}/{made['id']}").json()
    assert told["status"] == "completed"
    assert [each["status"] for each in told["output"]] == ["completed"]


@pytest.mark.parametrize("known", [True, False])
def test_a_response_is_looked_up_and_taken_apart_once(
    server: LiveServer, backend: AtOnce, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    make, vault = backend.info.reader, server.service.registry.vault
    assert make
    looks, readers = [], []

    def find(id: str) -> list[Record]:
        looks.append(id)
        return look(id)

    def counted(request: Request) -> Reader | None:
        readers.append(request)
        return make(request)

    look = vault.find
    monkeypatch.setattr(vault, "find", find)
    never_again = replace(backend.info, reader=counted, reproducible=False)
    monkeypatch.setattr(backend, "info", never_again)
    made = post(server, RESPONSES, input=CALL, tools=body()["tools"]).json()
    if not known:
        forget(server, made["id"].removeprefix("resp_"))
    looks.clear()
    readers.clear()
    whole = ask(server, "GET", f"{RESPONSES}/{made['id']}?stream=true&starting_after=1").text
    assert "response.completed" in whole
    assert (len(looks), len(readers)) == (0 if known else 1, 1)


def test_a_slice_has_a_bound_of_events_and_one_of_letters() -> None:
    pieces = [Event(None, {"text": text}) for text in ["x"] * (SLICE + 1) + ["y" * LETTERS] * 2]
    batch = list(enumerate(pieces))

    async def sliced() -> list[Batch]:
        return [each async for each in slices(batch)]

    found = asyncio.run(sliced())
    assert [len(each) for each in found] == [SLICE, 1, 1, 1]
    assert [pair for each in found for pair in each] == batch
