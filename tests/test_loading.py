"""How the model comes to the server, and what is said when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session

from minivault.backends.base import ModelInfo, Request
from minivault.backends.echo import EchoBackend
from minivault.errors import CannotStart, ModelUnusable
from minivault.loading import ModelLoading, started
from minivault.settings import Settings
from minivault.stage import Stage
from tests.model_store.hub import Hub
from tests.model_store.repository import distilgpt2


class Raising(EchoBackend):
    """Cannot start, for whatever reason a test gives."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def start(self) -> None:
        raise self._error


class Smallest:
    """All that a backend needs."""

    info = ModelInfo(name="smallest", context_length=4)

    async def generate(self, request: Request) -> AsyncGenerator[str, None]:
        yield request.prompt


@pytest.mark.parametrize(
    "error, says",
    [
        (ValueError("the file is half"), "could not start: ValueError: the file is half"),
        (AssertionError(), "could not start: AssertionError"),
        (MemoryError(), "could not start: MemoryError"),
        (SystemExit(7), "could not start: SystemExit: 7"),
        (asyncio.CancelledError(), "could not start: CancelledError"),
        (ModelUnusable("of another shape"), "of another shape"),
    ],
)
def test_a_backend_that_cannot_start_says_why(error: BaseException, says: str) -> None:
    with pytest.raises(CannotStart) as raised:
        asyncio.run(started(Raising(error)))
    assert str(raised.value).endswith(says)


def test_an_interrupt_while_starting_is_no_failure_of_the_backend() -> None:
    class Waiting(EchoBackend):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async def interrupted() -> None:
        starting = asyncio.create_task(started(Waiting()))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(interrupted())


def test_a_backend_without_a_start_is_ready_at_once() -> None:
    backend = Smallest()
    assert asyncio.run(started(backend)) is backend


def loading(folder: Path, **options: str | bool) -> tuple[ModelLoading, Stage]:
    stage = Stage()
    settings = Settings(models_dir=folder / "models", **options)  # type: ignore[arg-type]
    return ModelLoading(settings, stage), stage


def test_a_named_backend_is_chosen_without_a_model(tmp_path: Path) -> None:
    chosen, stage = loading(tmp_path, backend="echo")
    chosen.choose()
    assert chosen.summary == stage.wanted == "echo"
    assert asyncio.run(chosen.load()).info.name == "echo"
    asyncio.run(chosen.download())
    assert stage.notice is None


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "no.such.module:Thing"},
        {"backend": "tests.echoes:Nothing"},
        {"backend": "nobody"},
        {"model": "../secret", "offline": True},
        {"model": "org/not-here", "offline": True},
    ],
)
def test_what_cannot_be_chosen_is_said_before_anything_is_loaded(
    tmp_path: Path, options: dict[str, str | bool]
) -> None:
    with pytest.raises(CannotStart) as error:
        loading(tmp_path, **options)[0].choose()
    assert str(error.value)


def test_without_a_hub_the_storyteller_stands_in_and_it_is_said(tmp_path: Path) -> None:
    chosen, stage = loading(tmp_path, offline=True)
    chosen.choose()
    assert chosen.summary.startswith("storyteller")
    assert stage.wanted == "distilgpt2"
    assert stage.notice
    assert "distilgpt2" in stage.notice


# ---- with a hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
        close_session()


def downloaded(folder: Path, *, closing: bool = False) -> Stage:
    """The stage after the download that goes on while the storyteller serves."""
    chosen, stage = loading(folder)
    chosen.choose()
    stage.status = "ready"
    if closing:
        chosen.close()
    asyncio.run(chosen.download())
    assert stage.progress is None
    assert stage.status == "ready"
    return stage


def test_a_download_that_is_whole_says_that_the_next_start_serves_it(
    hub: Hub, tmp_path: Path
) -> None:
    hub.add("distilbert/distilgpt2", distilgpt2())
    assert downloaded(tmp_path).notice == "distilgpt2 is downloaded; the next start serves it"
    chosen, stage = loading(tmp_path)
    chosen.choose()
    assert (chosen.summary, stage.notice) == ("distilgpt2", None)


def test_a_download_that_fails_leaves_the_storyteller_and_says_why(
    hub: Hub, tmp_path: Path
) -> None:
    notice = downloaded(tmp_path).notice
    assert notice
    assert notice.startswith("distilgpt2 is not here, so the storyteller serves: ")
    assert "has no model" in notice


def test_a_server_that_ends_ends_its_download(hub: Hub, tmp_path: Path) -> None:
    hub.add("distilbert/distilgpt2", distilgpt2())
    notice = downloaded(tmp_path, closing=True).notice
    assert "the next start goes on with it" in (notice or "")
    assert not (tmp_path / "models" / "distilgpt2").exists()
