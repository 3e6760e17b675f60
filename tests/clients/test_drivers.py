"""What a client gets is what `/generate` gives: whole, in pieces, structured, and as an error."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.environments import run
from tests.processes import Served

pytestmark = pytest.mark.clients

TEXT = "Say hello to a cat."
SAMPLING: dict[str, Any] = {"max_tokens": 24, "temperature": 0.8, "seed": 11}
MESSAGES = [{"role": "user", "content": TEXT}]
DRIVERS = Path(__file__).parent / "drivers"
NAMES = sorted(each.name for each in DRIVERS.glob("*_*.*") if each.name != "__init__.py")

#: What a driver may tell, and what of /generate it must equal.
SAID: dict[str, dict[str, Any]] = {
    "whole": {"messages": MESSAGES},
    "streamed": {"messages": MESSAGES},
    "put_together": {"messages": MESSAGES},
    "hosted": {"messages": MESSAGES},
    "responses": {"messages": MESSAGES},
    "responses_streamed": {"messages": MESSAGES},
    "greedy": {"messages": MESSAGES, "temperature": 0},
    "greedy_streamed": {"messages": MESSAGES, "temperature": 0},
    "to_end": {"messages": MESSAGES, "max_tokens": 400},
    "to_end_streamed": {"messages": MESSAGES, "max_tokens": 400},
    "continued": {"prompt": TEXT},
}

Told = dict[str, Any]


@pytest.fixture(scope="module", params=NAMES)
def told(
    request: pytest.FixtureRequest, server: Served, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    """What a driver tells of its client. Each is run once."""
    driver, home = DRIVERS / request.param, tmp_path_factory.mktemp("client")
    url = f"{server.url}v1"
    asked = json.dumps({"text": TEXT, "sampling": SAMPLING, "url": url})
    if driver.suffix == ".mjs":
        name, command = "node", ["node", "--input-type=module", "-e", driver.read_text("utf-8")]
    else:
        name, command = "frameworks", ["python", "-m", f"tests.clients.drivers.{driver.stem}"]
    variables = {"OPENAI_BASE_URL": url, "OPENAI_API_BASE": url, "OPENAI_API_KEY": "none"}
    printed = run([*command, asked], name, home, **variables)
    found: Told = json.loads(printed.strip().splitlines()[-1])
    return found


@cache
def generated(url: str, asked: str) -> str:
    """What /generate makes of the same request, with /v1's defaults but for the makers' `top_p`."""
    neutral = {"top_k": 0, "repetition_penalty": 1.0}
    body = {**SAMPLING, **neutral, **json.loads(asked)}
    accept = {"Accept": "text/plain"}
    with httpx.Client(timeout=60, trust_env=False) as client:
        answer = client.post(f"{url}generate", json=body, headers=accept)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_seed_gives_the_text_of_generate(told: Told, server: Served) -> None:
    assert {"whole", "streamed"} <= told.keys()
    wrong = {
        name: told[name]
        for name in told.keys() & SAID.keys()
        if told[name] != generated(server.url, json.dumps(SAID[name]))
    }
    assert wrong == {}
    batch = told.get("batch", [])
    assert batch == len(batch) * [told.get("continued")]


def test_a_stream_comes_in_pieces(told: Told) -> None:
    assert told["pieces"] > 10


def test_what_is_structured_keeps_to_its_schema(told: Told) -> None:
    assert {"structured", "called"} <= told.keys()
    for name in told.keys() & {"structured", "called", "called_streamed", "called_in_response"}:
        assert isinstance(told[name]["name"], str)
        assert isinstance(told[name]["legs"], int)


def test_a_wrong_request_is_told_in_the_servers_words(told: Told) -> None:
    assert "temperature: must be a number from 0 to 2" in told["wrong"]["message"]


def test_a_prompt_that_is_too_long_is_known_as_that(told: Told) -> None:
    assert "maximum context length is 1024 tokens" in told["too_long"]["message"]
