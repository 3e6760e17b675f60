"""GET /metrics of a real server: every number has its line in the list, and they count."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.backends.local import LocalBackend
from minivault.metrics import METRICS
from minivault.model_store.model import read_model
from minivault.resources import resource
from minivault.settings import Settings
from tests.generations.backends import Reins
from tests.live import LiveServer, live_server

REQUEST = {"prompt": "Once upon a time", "max_tokens": 5, "seed": 1}
EVIL = {"Host": "evil"}


def page(server: LiveServer) -> dict[str, float]:
    response = httpx.get(f"{server.url}/metrics", timeout=60)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in response.text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def listed(numbers: dict[str, float]) -> None:
    names = {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in numbers}
    ours = {name for name in names if name.startswith("minivault_")}
    assert ours <= {each.name for each in METRICS}


def test_requests_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        generate = f"{server.url}/generate"
        assert httpx.post(generate, timeout=60, json=REQUEST).status_code == 200
        assert httpx.post(generate, timeout=60, json=REQUEST, headers=EVIL).status_code == 400
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert httpx.post(generate, timeout=60, json=REQUEST, headers=foreign).status_code == 403
        numbers = page(server)
    assert numbers['minivault_requests_accepted_total{client="text"}'] == 1
    finished = 'minivault_requests_finished_total{client="text",finished_reason="length"}'
    assert numbers[finished] == 1
    assert numbers['minivault_requests_refused_total{reason="host"}'] == 1
    assert numbers['minivault_requests_refused_total{reason="cross_site"}'] == 1
    assert numbers["minivault_generation_tokens_total"] == 5
    assert numbers["minivault_prompt_tokens_total"] == 4
    assert numbers["minivault_time_to_first_token_seconds_count"] == 1
    assert numbers["minivault_time_per_output_token_seconds_count"] == 4
    assert numbers["minivault_num_requests_running"] == 0
    assert numbers["minivault_vault_writes_total"] > 0
    listed(numbers)


def test_a_request_that_finds_no_room_is_counted_once_at_every_door(tmp_path: Path) -> None:
    reins = Reins()
    with (
        live_server(tmp_path, reins, max_running=1, max_waiting=0) as server,
        httpx.stream("POST", f"{server.url}/generate", json=REQUEST, timeout=60) as first,
    ):
        assert first.status_code == 200
        for door in ("/generate", "/v1/completions", "/v1/responses"):
            body = REQUEST if door != "/v1/responses" else {"input": "x"}
            assert httpx.post(server.url + door, json=body, timeout=60).status_code == 503
        numbers = page(server)
        reins.go()
    assert numbers['minivault_requests_refused_total{reason="queue"}'] == 3


@pytest.mark.slow
def test_the_engine_tells_of_its_steps_and_its_memory(tmp_path: Path) -> None:
    folder = resource("models/storyteller")
    values: dict[str, Any] = {"_env_file": None, "dtype": "float32", "threads": 1}
    backend = LocalBackend(Settings(**values), read_model(folder.name, folder))
    with live_server(tmp_path, backend) as server:
        assert httpx.post(f"{server.url}/generate", timeout=60, json=REQUEST).status_code == 200
        numbers = page(server)
    assert numbers["minivault_engine_tokens_total"] >= 5
    assert numbers["minivault_engine_steps_total"] >= 5
    assert numbers["minivault_engine_kv_limit_bytes"] > 0
    listed(numbers)
