from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minivault.model_store import Deadlines, ModelStore, Progress, StoredModel
from tests.live import wait_for
from tests.model_store.hub import Hub
from tests.model_store.repository import distilgpt2
from tests.processes import environment

NAME = "distilbert/distilgpt2"


@pytest.mark.slow
def test_a_killed_download_is_finished_by_the_process_that_waits_for_it(
    hub: Hub, tmp_path: Path
) -> None:
    hub.add(NAME, distilgpt2())
    hub.faults.stall_after = {"model.safetensors": 200_000}
    command = [sys.executable, "-m", "minivault", "pull", "--models-dir", str(tmp_path / "models")]
    killed = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = ModelStore(tmp_path / "models", deadlines=Deadlines(first_answer=60.0))
    waiting, pulled = threading.Event(), list[StoredModel]()

    def report(progress: Progress) -> None:
        if progress.phase == "waiting":
            waiting.set()

    second = threading.Thread(
        target=lambda: pulled.append(store.pull("distilgpt2", progress=report)), daemon=True
    )
    try:
        assert hub.stalling.wait(60)
        second.start()
        assert waiting.wait(60)
        wait_for(lambda: _has_a_part(store.folder))
        hub.faults.stall_after = {}
        hub.seen.clear()
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    second.join(60)
    assert pulled
    assert store.check("distilgpt2") == []
    ranges = [seen.headers.get("range") for seen in hub.seen if seen.file == "model.safetensors"]
    assert ranges
    assert all(start is not None and start.startswith("bytes=") for start in ranges)
    assert "config.json" not in hub.asked_for()


def _has_a_part(models: Path) -> bool:
    """Whether bytes of the weights are on disk: the hub says it stalls before they have arrived."""
    return any(part.stat().st_size for part in models.glob(".downloads/*/*.safetensors.*.part"))
