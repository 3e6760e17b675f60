"""The first starts of a server, with a hub that has the model, has not, or stands still."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.model_store.checkpoints import save_gpt2
from tests.model_store.hub import Hub
from tests.processes import Served, minivault, serving

NAME = "distilbert/distilgpt2"
LOCAL = ("--backend", "local", "--threads", "1")

pytestmark = pytest.mark.slow


def add_tiny_model(hub: Hub, folder: Path) -> None:
    """A GPT-2 that can really be served, under distilGPT2's name."""
    files = save_gpt2(folder / "on the hub").iterdir()
    hub.add(NAME, {path.name: path.read_bytes() for path in files})


def health(served: Served) -> dict[str, Any]:
    with urlopen(f"{served.url}health", timeout=60) as response:
        data: dict[str, Any] = json.load(response)
    return data


def wait_until(served: Served, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What `/health` says as soon as it holds."""
    deadline = time.monotonic() + 240
    while not holds(found := health(served)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_the_storyteller_serves_first_and_the_downloaded_model_next_time_without_a_hub(
    hub: Hub, tmp_path: Path
) -> None:
    add_tiny_model(hub, tmp_path)
    with serving(tmp_path, *LOCAL) as served:
        found = wait_until(served, lambda found: "next start serves it" in (found["notice"] or ""))
        assert (found["model"]["name"], found["wanted"]) == ("storyteller", "distilgpt2")
        served.stop()
    hub.seen.clear()
    with serving(tmp_path, *LOCAL) as served:
        found = health(served)
        assert (found["model"]["name"], found["notice"]) == ("distilgpt2", None)
        served.stop()
    assert hub.seen == []


def test_a_hub_without_the_model_leaves_the_storyteller_serving_and_says_why(
    hub: Hub, tmp_path: Path
) -> None:
    with serving(tmp_path, *LOCAL) as served:
        found = wait_until(served, lambda found: "has no model" in (found["notice"] or ""))
        assert found["model"]["name"] == "storyteller"
        assert found["status"] == "ready"
        served.stop()


@pytest.mark.parametrize("name", ["distilgpt2", "org/model"])
def test_a_model_that_was_asked_for_and_cannot_be_had_is_exit_code_3(
    hub: Hub, tmp_path: Path, name: str
) -> None:
    result = minivault("serve", "--port", "0", "--model", name, cwd=tmp_path)
    assert result.returncode == 3
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "has no model" in errors[0]


def test_a_model_that_was_asked_for_is_downloaded_and_served_at_once(
    hub: Hub, tmp_path: Path
) -> None:
    add_tiny_model(hub, tmp_path)
    with serving(tmp_path, *LOCAL, "--model", "distilgpt2") as served:
        assert health(served)["model"]["name"] == "distilgpt2"
        served.stop()


def test_a_hub_that_stands_still_does_not_hold_up_ctrl_c(hub: Hub, tmp_path: Path) -> None:
    add_tiny_model(hub, tmp_path)
    hub.faults.stall_after = {"model.safetensors": 100_000}
    with serving(tmp_path, *LOCAL) as served:
        assert hub.stalling.wait(60)
        assert served.stop(signal.SIGINT) == 0


SOCKS = {"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "", "no_proxy": "", "HF_HUB_OFFLINE": ""}


@pytest.mark.skipif(find_spec("socksio") is not None, reason="SOCKS works here")
def test_a_proxy_that_cannot_be_used_is_told_at_once_and_the_storyteller_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SOCKS.items():
        monkeypatch.setenv(name, value)
    for command in (["serve", "--port", "0", "--model", "distilgpt2"], ["pull"]):
        ended = minivault(*command, cwd=tmp_path)
        assert ended.returncode == 3
        assert ended.stderr.startswith("error: a SOCKS proxy needs the package socksio (ALL_PROXY=")
        assert ended.stderr.count("\n") == 1
    with serving(tmp_path, *LOCAL) as served:
        found = wait_until(served, lambda found: "pip install socksio" in (found["notice"] or ""))
        assert (found["status"], found["model"]["name"]) == ("ready", "storyteller")
        (complaint,) = served.complaints
        assert complaint.startswith("warning: distilgpt2 is not here, so the storyteller serves")
        assert "ALL_PROXY=socks5://127.0.0.1:1" in complaint
        served.stop()
