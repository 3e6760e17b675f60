"""Whether work can be taken, why not, and by which model."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.echo import EchoBackend
from minivault.errors import ModelUnusable
from minivault.vault import Vault
from tests.generations.backends import Reins
from tests.health_watch import HEALTH
from tests.live import LiveServer, live_server, wait_for
from tests.model_store.repository import STORYTELLER
from tests.web.asking import SSE, TEXT, ask, connection, generate, in_loop, problem, until


class Held(EchoBackend):
    """Loads until a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.let = False

    async def start(self) -> None:
        while not self.let:
            await asyncio.sleep(0.005)


class Broken(EchoBackend):
    async def start(self) -> None:
        raise ModelUnusable("the weights are of another shape")


class Sick(EchoBackend):
    """Says itself that it does not work."""

    def problem(self) -> str:
        return "its thread has ended"


def health(server: LiveServer, status: int) -> dict[str, Any]:
    answer = ask(server, "GET", "/health")
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) == (status == 503)
    data: dict[str, Any] = answer.json()
    return data


def test_the_watch_on_health_sees_a_loop_that_is_held(tmp_path: Path) -> None:
    """It watches every test of a route: see tests/web/conftest.py."""
    with live_server(tmp_path) as server:
        in_loop(server, lambda: wait_for(lambda: HEALTH.worst().seconds > 0.15))
        assert HEALTH.end().seconds > 0.1


def test_a_ready_server_says_so_and_what_it_does(tmp_path: Path) -> None:
    reins = Reins()
    with live_server(tmp_path, reins, max_running=1) as server:
        data = health(server, 200)
        assert data["status"] == "ready"
        assert data["model"]["name"] == "reins"
        assert data["context_length"] == 1000
        assert data["log"] == {"writable": True, "problem": None}
        assert (data["running"], data["waiting"]) == (0, 0)
        body = {"prompt": "a", "max_tokens": 1}
        with connection(server, "POST", "/generate", SSE, body) as one:
            until(one, "start")
            with connection(server, "POST", "/generate", SSE, body) as two:
                until(two, "queued")
                data = health(server, 200)
                assert (data["running"], data["waiting"]) == (1, 1)


class Slower(EchoBackend):
    """Runs, but not as fast as it could."""

    async def start(self) -> None:
        self.info = replace(self.info, notice="slow without a C compiler; install one")


def test_what_a_model_lacks_is_told(tmp_path: Path) -> None:
    with live_server(tmp_path, Slower()) as server:
        assert health(server, 200)["notice"] == "slow without a C compiler; install one"
        server.service.stage.notice = "the storyteller serves"
        told = "the storyteller serves; slow without a C compiler; install one"
        assert health(server, 200)["notice"] == told


def test_while_the_model_loads_everything_but_text_is_answered(tmp_path: Path) -> None:
    held = Held()
    with live_server(tmp_path, held, ready=False) as server:
        assert health(server, 503)["status"] == "loading"
        assert health(server, 503)["detail"]
        for path in ("/", "/docs", "/openapi.json", "/logs"):
            assert ask(server, "GET", path).status_code == 200, path
        assert ask(server, "GET", "/models").json()["serving"] is None
        for accept in (SSE, TEXT, "application/json"):
            refused = generate(server, accept)
            assert "loaded" in problem(refused, 503)["detail"]
            assert "retry-after" in refused.headers
        held.let = True
        wait_for(lambda: ask(server, "GET", "/health").status_code == 200)
        id = generate(server, "application/json").json()["id"]
    with live_server(tmp_path, Held(), ready=False) as server:
        headers = {"Last-Event-ID": f"{id}.1"}
        held_back = ask(server, "GET", "/generate", SSE, headers=headers)
        assert (held_back.status_code, held_back.content) == (200, b"retry: 1000\n\n")
        assert server.service.stage.status == "loading"


def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(tmp_path: Path) -> None:
    with live_server(tmp_path, Broken()) as server:
        data = health(server, 503)
        assert (data["status"], data["model"]) == ("failed", None)
        assert "another shape" in data["detail"]
        problem(generate(server), 503)
        assert not server.log.exists() or server.records() == []


def test_while_draining_it_says_so(tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        server.service.drain()
        data = health(server, 503)
        assert data["status"] == "draining"
        assert "shutting down" in data["detail"]


def test_an_engine_that_does_not_work_is_told(tmp_path: Path) -> None:
    with live_server(tmp_path, Sick()) as server:
        data = health(server, 503)
        assert data["status"] == "unavailable"
        assert "its thread has ended" in data["detail"]


def test_a_log_that_cannot_be_written_is_told_and_no_work_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_server(tmp_path) as server:
        monkeypatch.setattr(Vault, "problem", property(lambda vault: "no space left on device"))
        data = health(server, 503)
        assert data["status"] == "unavailable"
        assert "no space left" in data["detail"]
        assert data["log"] == {"writable": False, "problem": "no space left on device"}


def test_models_are_those_on_disk_and_the_one_serving(tmp_path: Path) -> None:
    shutil.copytree(STORYTELLER, tmp_path / "models" / "mine")
    (tmp_path / "models" / "half").mkdir()
    with live_server(tmp_path) as server:
        data = ask(server, "GET", "/models").json()
    assert data["serving"]["name"] == "echo"
    assert data["serving"]["reproducible"] is True
    found = {model["name"]: model for model in data["models"]}
    assert {"mine", "storyteller"} <= set(found)
    assert "half" not in found
    assert found["mine"]["size"] > 1_000_000
