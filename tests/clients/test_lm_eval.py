"""lm-evaluation-harness scores a task, and has it answered in a chat, as docs/clients.md shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.docs import section
from tests.clients.environments import run
from tests.processes import Served

pytestmark = pytest.mark.clients


def test_it_scores_choices_and_has_questions_answered(server: Served, tmp_path: Path) -> None:
    (command,) = section("lm-evaluation-harness", server.url, tmp_path)
    run(command, "lm-eval", tmp_path)
    scored, answered = samples(tmp_path / "facts"), samples(tmp_path / "answers")
    assert [each["acc"] for each in scored] == [1.0, 1.0, 1.0]
    for each in scored:
        for choice, found in zip(each["doc"]["choices"], each["filtered_resps"], strict=True):
            expected = log_likelihood(server.url, each["doc"]["question"], f" {choice}")
            assert float(found[0]) == pytest.approx(expected, abs=1e-6)
    said = [record["response"] for record in server.records()]
    assert len(answered) == 3
    for each in answered:
        assert each["filtered_resps"][0] in said


def samples(folder: Path) -> list[dict[str, Any]]:
    """What it noted of each question."""
    (file,) = folder.rglob("samples_*.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def log_likelihood(url: str, context: str, continuation: str) -> float:
    """Of a text after another, asked for by text."""
    asked = {"prompt": context + continuation, "echo": True, "logprobs": 0, "max_tokens": 0}
    with httpx.Client(timeout=60, trust_env=False) as client:
        logprobs = client.post(f"{url}v1/completions", json=asked).json()["choices"][0]["logprobs"]
    places = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
    return float(sum(value for start, value in places if start >= len(context)))
