"""How the model comes to the server, and what is said when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from minivault.backends.base import ModelInfo, Request
from minivault.backends.echo import EchoBackend
from minivault.errors import CannotStart, ModelUnusable
from minivault.loading import ModelLoading, started
from minivault.settings import Settings
from minivault.stage import Stage


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
        (ValueError("the file is half"), "could not start: the file is half"),
        (AssertionError(), "could not start: AssertionError"),
        (MemoryError(), "could not start: MemoryError"),
        (ModelUnusable("of another shape"), "of another shape"),
    ],
)
def test_a_backend_that_cannot_start_says_why(error: Exception, says: str) -> None:
    with pytest.raises(CannotStart) as raised:
        asyncio.run(started(Raising(error)))
    assert str(raised.value).endswith(says)


def test_an_interrupt_while_starting_is_no_failure_of_the_backend() -> None:
    async def interrupted() -> None:
        await started(Raising(asyncio.CancelledError()))

    with pytest.raises(asyncio.CancelledError):
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
