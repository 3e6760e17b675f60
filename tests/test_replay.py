"""What the storyteller said under load comes out again, one by one, in another process."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.cli import replay as cli_replay
from minivault.errors import CannotStart
from minivault.settings import Settings
from minivault.vault.record import Record
from tests.live import wait_for
from tests.processes import Served, minivault, serving

#: 200 with MINIVAULT_FULL=1.
COUNT = 200 if os.environ.get("MINIVAULT_FULL") else 40
_KILLED = range(300, 304)
PROMPTS = ["Once upon a time", "The king said", "Alice was", "In the wood there lived a"]


def _ask(server: Served, seed: int) -> str:
    body = {
        "prompt": PROMPTS[seed % 4],
        "seed": seed,
        "max_tokens": 4 + seed % 13,
        "temperature": (seed % 5) / 4,
        "stop": ["the"] if seed % 7 == 0 else [],
    }
    answer = httpx.post(f"{server.url}generate", json=body, timeout=60)
    assert answer.status_code == 200
    return answer.text


def _leave(server: Served, seed: int) -> None:
    """Asks for a text that comes to no end, reads a little of it, and goes."""
    connection = server.post("text/plain", prompt=PROMPTS[seed % 4], seed=seed, max_tokens=400)
    connection.recv(2000)
    connection.recv(2000)
    connection.close()


def test_a_record_of_version_0_1_gets_the_runner_that_there_is_now() -> None:
    def replayed(**engine: Any) -> str:
        return cli_replay._as_then(Settings(), Record(1, "", {"engine": engine})).runner

    assert replayed(runner="gpt2", kernels="native", dtype="int8") == "native"
    assert replayed(runner="transformers") == "transformers"
    with pytest.raises(CannotStart, match="no longer there"):
        replayed(runner="gpt2", kernels="torch")


@pytest.mark.slow
def test_what_was_made_under_load_is_made_again_one_by_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--backend", "tests.stories:Halting") as server:
        with ThreadPoolExecutor(16) as clients:
            texts = list(clients.map(lambda seed: _ask(server, seed), range(COUNT)))
            list(clients.map(lambda seed: _leave(server, seed), range(200, 208)))
        wait_for(lambda: len(server.records()) == COUNT + 8)
        left = [
            server.post("text/plain", prompt=PROMPTS[0], seed=n, max_tokens=400) for n in _KILLED
        ]
        for connection in left:
            connection.recv(2000)
        server.stop(signal.SIGKILL)
        for connection in left:
            connection.close()
    with serving(tmp_path) as server:
        server.stop()
        records = server.records()
    reasons = Counter(record["finish_reason"] for record in records)
    assert {"stop", "length", "disconnected", "interrupted"} <= set(reasons), reasons
    by_seed = {record["seed"]: record["response"] for record in records}
    assert [by_seed[seed] for seed in range(COUNT)] == texts
    done = minivault("logs", "replay", "--all", "--json", cwd=tmp_path, timeout=200)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result for result in results if result["verdict"] != "same"] == []
    assert len(results) == len(records) >= COUNT + 12
    _alter_one_character(tmp_path / "logs" / "log.jsonl", records[0]["response"])
    done = minivault("logs", "replay", "1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "record 1 differs from character 2 on\n")


def _alter_one_character(log: Path, response: str) -> None:
    altered = response[0] + ("x" if response[1] != "x" else "y") + response[2:]
    line, rest = log.read_text().split("\n", 1)
    field = '"response":{}'
    changed = line.replace(field.format(json.dumps(response)), field.format(json.dumps(altered)))
    assert changed != line
    log.write_text(f"{changed}\n{rest}")
