"""When the model fails: who is affected, what /health says, and what goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.backends.base import Finish, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.backends.local import LocalBackend
from minivault.engine import engine as engine_module
from minivault.model_store.model import read_model
from minivault.resources import resource
from minivault.settings import Settings
from tests.faults.crowd import SSE, Answer, request, talk
from tests.live import LiveServer, live_server, wait_for

SECRET = "zebra"
POISON = f"{SECRET} bites"


class Poisoned(EchoBackend):
    """Cannot bear one prompt, and quotes it."""

    async def generate(self, asked: Request) -> AsyncGenerator[Piece | Finish, None]:
        async for item in super().generate(asked):
            yield item
            if asked.prompt == POISON:
                raise ValueError(f"cannot go on with {asked.prompt}")


class Ailing(EchoBackend):
    """Says of itself what is wrong."""

    ailment: str | None = None

    def problem(self) -> str | None:
        return self.ailment


class Broken(Exception):
    """What a runner raises; its message quotes the prompt."""


class Storyteller(LocalBackend):
    """The real thing, with a runner that breaks, hangs or forgets numbers when it is told to."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(dtype="float32", threads=1, logs_dir=folder / "logs")
        super().__init__(settings, read_model("storyteller", resource("models/storyteller")))
        self.fault = ""
        self.hanging = threading.Event()

    async def start(self) -> None:
        await super().start()
        runner, engine = self._engine._runner, self._engine
        draw, prefill, step = runner.draw, runner.prefill, engine.step
        poison = tuple(self._tokenizer.encode(POISON))

        def faulty_draw(sequences: Any) -> Any:
            if self.fault == "hang":
                self.hanging.wait(60)
            if self.fault == "decode":
                self.fault = ""
                raise Broken(POISON)
            tokens, logits = draw(sequences)
            for row, each in enumerate(sequences):
                if self.fault == "nan" and each.prompt == poison:
                    tokens[row] = -1
            return tokens, logits

        def faulty_prefill(sequence: Any) -> bool:
            if self.fault == "prefill" and sequence.prompt == poison:
                raise Broken(POISON)
            return prefill(sequence)

        def faulty_step() -> Any:
            outputs = step()
            if self.fault == "engine":
                raise Broken(POISON)
            return outputs

        runner.draw, runner.prefill = faulty_draw, faulty_prefill  # type: ignore[method-assign]
        engine.step = faulty_step  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, Storyteller]]:
    folder = tmp_path_factory.mktemp("storyteller")
    backend = Storyteller(folder)
    with live_server(folder, backend) as server:
        yield server, backend


def ask(server: LiveServer, *prompts: str, tokens: int = 20, accept: str = SSE) -> list[Answer]:
    """All at once."""

    async def everybody() -> list[Answer]:
        asked = [
            request(prompt=prompt, max_tokens=tokens, seed=3, accept=accept) for prompt in prompts
        ]
        return await asyncio.gather(*(talk(server.port, each) for each in asked))

    return asyncio.run(everybody())


def health(server: LiveServer) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{server.url}/health", timeout=60)
    return answer.status_code, answer.json()


def assert_failed(answer: Answer, server: LiveServer, words: str) -> None:
    """A clear event, and a record of the same error."""
    end = answer.events[-1]
    record = next(each for each in server.records() if each["id"] == answer.events[0].json["id"])
    assert end.name == "failed"
    assert end.json["error"] == record["error"]
    assert (end.json["error"]["type"], record["finish_reason"]) == ("backend", "error")
    assert words in end.json["error"]["message"]
    assert SECRET not in end.data


def test_a_backend_that_raises_fails_that_text_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with live_server(tmp_path, Poisoned(delay=0.005)) as server:
        *good, bad = ask(server, "one", "two", "three", POISON)
        assert [answer.events[-1].name for answer in good] == ["done"] * 3
        assert_failed(bad, server, "ValueError")
        [json] = ask(server, POISON, accept="application/json")
        assert (json.status, json.json["finish_reason"]) == (500, "error")
        [text] = ask(server, POISON, accept="text/plain")
        assert not text.whole
        assert health(server)[0] == 200
    assert "Traceback" in caplog.text or "File" in caplog.text
    assert SECRET not in caplog.text


def test_a_backend_that_says_it_cannot_work_turns_health_to_503_until_it_can(
    tmp_path: Path,
) -> None:
    backend = Ailing()
    with live_server(tmp_path, backend) as server:
        assert health(server)[0] == 200
        backend.ailment = "the card is gone"
        code, data = health(server)
        assert (code, data["status"]) == (503, "unavailable")
        assert data["detail"] == "the engine does not work: the card is gone"
        backend.ailment = None
        assert health(server)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["prefill", "nan"])
def test_what_breaks_for_one_sequence_ends_that_one(
    told: tuple[LiveServer, Storyteller], fault: str
) -> None:
    server, backend = told
    undisturbed = ask(server, "Once upon", "The old king")
    backend.fault = fault
    *good, bad = ask(server, "Once upon", "The old king", POISON)
    backend.fault = ""
    assert_failed(bad, server, "Broken" if fault == "prefill" else "ArithmeticError")
    texts = [[each.json["text"] for each in one.events[1:-1]] for one in good]
    assert texts == [[each.json["text"] for each in one.events[1:-1]] for one in undisturbed]
    assert health(server)[0] == 200


@pytest.mark.slow
def test_a_step_that_raises_ends_its_batch_and_the_engine_goes_on(
    told: tuple[LiveServer, Storyteller], caplog: pytest.LogCaptureFixture
) -> None:
    server, backend = told
    backend.fault = "decode"
    for answer in ask(server, "Once upon", tokens=100):
        assert_failed(answer, server, "Broken")
    [after] = ask(server, POISON)
    assert after.events[-1].name == "done"
    assert health(server)[0] == 200
    assert SECRET not in caplog.text


@pytest.mark.slow
def test_a_step_that_hangs_turns_health_to_503_and_goes_on_where_it_can(
    told: tuple[LiveServer, Storyteller], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, backend = told
    monkeypatch.setattr(engine_module, "HANGS_AFTER", 0.3)
    backend.fault = "hang"
    waiting: list[Answer] = []
    reader = threading.Thread(target=lambda: waiting.extend(ask(server, "Once upon")))
    reader.start()
    wait_for(lambda: health(server)[0] == 503)
    assert health(server)[1]["detail"].startswith("the engine does not work: a step of the engine")
    assert httpx.get(f"{server.url}/metrics", timeout=60).status_code == 200
    backend.fault = ""
    backend.hanging.set()
    reader.join(60)
    assert waiting[0].events[-1].name == "done"
    wait_for(lambda: health(server)[0] == 200)


@pytest.mark.slow
def test_a_dead_engine_fails_what_it_had_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Storyteller(tmp_path)
    with live_server(tmp_path, backend) as server:
        backend.fault = "engine"
        [cut] = ask(server, "Once upon")
        assert_failed(cut, server, "Broken")
        code, data = health(server)
        assert (code, data["detail"]) == (
            503,
            "the engine does not work: the engine has stopped: Broken",
        )
        [late] = ask(server, POISON)
        assert late.status == 503 or late.events[-1].name == "failed"
        wait_for(lambda: server.service.registry.statistics()["running"] == 0)
    assert "the engine has stopped" in caplog.text
