"""Begins, outcomes and records for the tests of the vault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minivault.schemas import Receipt
from minivault.vault import Begin, Outcome, Vault

MODEL = {"name": "echo", "sha256": "0" * 64}
ENGINE = {"runner": "echo", "version": 1, "reproducible": True}
PARAMS = {"max_tokens": 4, "temperature": 0.8, "stop": []}


def begin(id: str, prompt: str = "Hello", **more: Any) -> Begin:
    return Begin(id, prompt, PARAMS, 7, "sse", MODEL, ENGINE, **more)


def outcome(response: str, finish_reason: str = "length", **more: Any) -> Outcome:
    usage = {"prompt_tokens": 1, "completion_tokens": 4}
    return Outcome(response, finish_reason, usage, {"total_ms": 1.5}, 6, **more)


def write(
    vault: Vault, id: str, prompt: str = "Hello", response: str = " there", **more: Any
) -> Receipt:
    """One whole generation, begun and committed."""
    entry = vault.begin(begin(id, prompt, **more)).result(10)
    return vault.commit(entry, outcome(response)).result(10)


def lines(folder: Path, name: str = "log.jsonl") -> list[dict[str, Any]]:
    data = (folder / name).read_bytes()
    assert data.endswith(b"\n") or not data
    return [json.loads(line) for line in data.split(b"\n")[:-1]]
