"""Addresses that clients look for and that are elsewhere."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from minivault.web.openai import misplaced


@pytest.mark.parametrize("prefix", ["", "/vault", "/api"])
def test_each_says_where_to_go_below_a_prefix_as_well(prefix: str) -> None:
    client = TestClient(Starlette(routes=misplaced.routes), root_path=prefix)
    ollama, openai = (client.get(f"{prefix}{each}") for each in ("/api/tags", "/chat/completions"))
    assert ollama.json()["error"]["message"].startswith("Ollama's interface is not served")
    assert openai.json()["error"]["message"].startswith("the base URL of this server")
