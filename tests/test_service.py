"""The life of a service, in the order it is meant in and in others."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.backends.echo import EchoBackend
from minivault.errors import CannotStart, Draining, InvalidRequest, Loading, ModelUnusable, NotFound
from minivault.generations import Audit, Follower, Visitor
from minivault.parsing import parse_parameters
from minivault.schemas import Client
from minivault.service import Service
from minivault.settings import Settings
from tests.generations.backends import Reins
from tests.vault.samples import begin


class Panic(BaseException):
    """As extensions raise it: no Exception."""


class Watched(EchoBackend):
    """Notes when it is started and closed, and can be held or fail."""

    def __init__(self, *, error: BaseException | None = None, held: bool = False) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._error = error
        self._held = held

    async def start(self) -> None:
        self.calls.append("start")
        if self._held:
            await asyncio.Event().wait()
        if self._error:
            raise self._error

    async def close(self) -> None:
        self.calls.append("close")


def test_a_start_that_is_refused_its_log_folder_leaves_nothing_there(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(CannotStart, match="others may write to it"):
        Service.opened(Settings(logs_dir=folder), EchoBackend())
    assert list(folder.iterdir()) == []


Scenario = Callable[[Service], Awaitable[None]]


def run(folder: Path, backend: Any, scenario: Scenario, **options: Any) -> Service:
    """Runs a scenario with a service; what is open at its end is the scenario's."""
    values: dict[str, Any] = {"logs_dir": folder / "logs", "models_dir": folder / "models"}
    service = Service.opened(Settings(**(values | {"drain": 0.0} | options)), backend)

    async def limited() -> None:
        async with asyncio.timeout(60):
            await scenario(service)

    asyncio.run(limited())
    return service


async def begun(service: Service, **fields: Any) -> Follower:
    asked = parse_parameters({"prompt": "one two", "max_tokens": 3} | fields)
    return await service.generations.start(asked, Visitor(Client.JSON, Audit(service.vault)))


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "logs" / "log.jsonl").read_text(encoding="ascii").splitlines()
    return [json.loads(line) for line in lines]


def test_the_whole_life(tmp_path: Path) -> None:
    backend = Watched()

    async def scenario(service: Service) -> None:
        assert service.model == "echo"
        assert service.problem()
        await service.start()
        assert service.stage.status == "loading"
        await service.ready()
        assert service.problem() is None
        assert service.info.name == "echo"
        follower = await begun(service)
        await follower.generation.over()
        await service.drained()
        assert service.problem() == "the server is shutting down"
        await service.close()

    run(tmp_path, backend, scenario)
    assert backend.calls == ["start", "close"]
    assert [record["finish_reason"] for record in records(tmp_path)] == ["length"]


@pytest.mark.parametrize("steps", ["close", "drain close", "drained"])
def test_a_service_that_never_served_can_be_ended(tmp_path: Path, steps: str) -> None:
    backend = Watched()

    async def scenario(service: Service) -> None:
        for step in steps.split():
            ended = getattr(service, step)()
            if ended is not None:
                await ended
        await service.close()

    run(tmp_path, backend, scenario)
    assert "start" not in backend.calls


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        await service.close()
        await service.close()

    run(tmp_path, Reins(), scenario)


def test_a_signal_before_the_start_is_not_forgotten(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        service.drain()
        await service.start()
        await service.ready()
        with pytest.raises(Draining):
            await begun(service)
        await service.close()

    run(tmp_path, EchoBackend(), scenario)


def test_before_the_model_is_there_nothing_begins(tmp_path: Path) -> None:
    backend = Watched(held=True)

    async def scenario(service: Service) -> None:
        await service.start()
        with pytest.raises(Loading):
            await begun(service)
        with pytest.raises(Loading):
            _ = service.info
        await service.close()

    service = run(tmp_path, backend, scenario)
    assert service.stage.status == "loading"
    assert not (tmp_path / "logs" / "log.jsonl").exists() or not records(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        ModelUnusable("it is half"),
        ValueError("it is half"),
        OSError(),
        Panic("it is half"),
        SystemExit(1),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_a_load_that_fails_is_raised_and_told(tmp_path: Path, error: BaseException) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        with pytest.raises(CannotStart, match="it is half|OSError|SystemExit: 1|CancelledError"):
            await service.ready()
        assert service.stage.status == "failed"
        assert service.problem() == service.stage.detail != ""
        with pytest.raises(Loading):
            await begun(service)
        await service.close()

    run(tmp_path, Watched(error=error), scenario)


class Faceless:
    """Starts well, and then has no `info`."""


def test_a_backend_that_is_none_is_told_and_not_waited_for(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        with pytest.raises(CannotStart, match="cannot be loaded: AttributeError"):
            await service.ready()
        assert service.stage.status == "failed"
        with pytest.raises(Loading):
            await begun(service)
        await service.close()

    run(tmp_path, Faceless(), scenario)


class Bare:
    """A backend with what is required, that says of itself more than it can."""

    info = ModelInfo(name="bare", context_length=8, chat=True)

    def lacks(self) -> list[str]:
        return ["it was given half of what it asked for"]

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece(request.prompt)


def test_what_a_backend_lacks_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        given, lengths, chat = service.stage.warnings
        assert given == "it was given half of what it asked for"
        assert lengths.startswith("bare has neither tokenize nor count_tokens: prompts longer")
        assert chat == "bare says that it chats and has no render: `messages` are refused"
        assert lengths in caplog.text
        assert service.statistics()["warnings"] == 3
        await service.close()

    run(tmp_path, Bare(), scenario)


class Unwell(EchoBackend):
    """Says nothing sensible of itself, and cannot be closed."""

    def problem(self) -> str | None:
        raise Panic("unwell")

    async def close(self) -> None:
        raise Panic("jammed")


def test_a_backend_that_raises_about_itself_is_unwell_and_its_records_are_written(
    tmp_path: Path,
) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        assert service.problem() == "the engine does not work: asking it raised Panic"
        follower = await begun(service)
        await follower.generation.over()
        await service.close()
        assert service.vault.problem == "it is closed"

    run(tmp_path, Unwell(), scenario)
    assert [record["finish_reason"] for record in records(tmp_path)] == ["length"]


def test_a_load_that_fails_unheard_leaves_no_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        while service.stage.status == "loading":
            await asyncio.sleep(0)
        await service.close()

    run(tmp_path, Watched(error=ModelUnusable("half")), scenario)
    assert "never retrieved" not in caplog.text


def test_what_runs_may_end_within_the_drain_time(tmp_path: Path) -> None:
    reins = Reins(allowed=1)

    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        follower = await begun(service)
        draining = asyncio.create_task(service.drained())
        await asyncio.sleep(0)
        reins.go()
        await draining
        assert follower.generation.ended
        await service.close()

    run(tmp_path, reins, scenario, drain=10.0)
    assert records(tmp_path)[0]["finish_reason"] == "length"


def test_what_does_not_end_in_time_is_interrupted_with_what_was_said(tmp_path: Path) -> None:
    reins = Reins(allowed=2)

    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        follower = await begun(service)
        while len(follower.generation.events) < 3:
            await asyncio.sleep(0)
        await service.drained()
        await service.close()

    run(tmp_path, reins, scenario, drain=0.05)
    [record] = records(tmp_path)
    assert record["finish_reason"] == "interrupted"
    assert len(record["response"].split()) == 2
    assert reins.live == 0


def test_closing_alone_interrupts_and_records_all_the_same(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        for number in range(5):
            await begun(service, seed=number)
        await service.close()

    run(tmp_path, Reins(), scenario, max_running=2)
    assert [each["finish_reason"] for each in records(tmp_path)] == ["interrupted"] * 5


def test_what_an_earlier_process_left_open_is_recovered_once(tmp_path: Path) -> None:
    async def die(service: Service) -> None:
        await Audit(service.vault).begin(begin("a" * 64))
        service.vault.close()

    async def live(service: Service) -> None:
        await service.close()

    for scenario in (die, live, live):
        run(tmp_path, EchoBackend(), scenario)
    assert [each["finish_reason"] for each in records(tmp_path)] == ["interrupted"]


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        await service.close()

    first = run(tmp_path, EchoBackend(), scenario)
    second = run(tmp_path, EchoBackend(), scenario)
    assert first.secret == second.secret
    assert len(first.secret) >= 32
    assert stat.S_IMODE((tmp_path / "logs" / "secret").stat().st_mode) == 0o600


def test_a_log_folder_that_cannot_be_is_said_before_anything(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")

    with pytest.raises(CannotStart, match=str(tmp_path / "logs")):
        Service.opened(Settings(logs_dir=tmp_path / "logs"), EchoBackend())


class Counting(EchoBackend):
    """Has gauges of its own."""

    def statistics(self) -> dict[str, float]:
        return {"steps": 7}

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        yield Piece(request.prompt)


def test_all_gauges_are_in_one_place(tmp_path: Path) -> None:
    async def scenario(service: Service) -> None:
        await service.start()
        assert "engine_steps" not in service.statistics()
        await service.ready()
        follower = await begun(service)
        await follower.generation.over()
        found = service.statistics()
        assert found["engine_steps"] == 7
        assert found["num_kept"] == 1
        assert found["num_followers"] == 1
        assert found["vault_seq"] == 1
        await service.close()

    run(tmp_path, Counting(), scenario)


class Undecided(EchoBackend):
    """Counts a prompt as long as a test holds it, and then too many tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.decided = threading.Event()

    def count_tokens(self, prompt: str) -> int:
        self.decided.wait(10)
        return 10**6


def test_to_stop_one_that_is_then_not_accepted_is_to_stop_nothing(tmp_path: Path) -> None:
    backend = Undecided()

    async def scenario(service: Service) -> None:
        await service.start()
        await service.ready()
        starting = asyncio.create_task(begun(service))
        while not (accepting := service.registry.shelf.open()):
            await asyncio.sleep(0)
        stopping = asyncio.create_task(service.generations.stop(accepting[0].id))
        await asyncio.sleep(0)
        backend.decided.set()
        with pytest.raises(InvalidRequest):
            await starting
        with pytest.raises(NotFound):
            await stopping
        await service.close()

    run(tmp_path, backend, scenario)
    assert not (tmp_path / "logs" / "log.jsonl").exists() or not records(tmp_path)
