"""What docs/clients.md shows of each client works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.docs import TITLES, section
from tests.clients.environments import run
from tests.processes import Served

pytestmark = pytest.mark.clients

#: The sections that are run here, and the environments of their clients.
SECTIONS = {
    "openai": "frameworks",
    "llm": "frameworks",
    "LangChain": "frameworks",
    "LiteLLM": "frameworks",
    "pydantic-ai": "frameworks",
    "OpenAI Agents": "frameworks",
    "openai for Node": "node",
    "Vercel's AI SDK": "node",
    "aider": "aider",
    "Continue": "node",
}
#: And those that are run by tests of their own.
ELSEWHERE = {"lm-evaluation-harness", "Open WebUI", "Kept silent", "What does not work"}
#: Other machines that a client asks whatever it is told: the docs say so.
ASKED = {"Continue": ["api.continue.dev"]}


def test_every_section_is_run() -> None:
    assert set(TITLES) == SECTIONS.keys() | ELSEWHERE


@pytest.mark.parametrize("title", SECTIONS)
def test_a_client_prints_what_the_vault_has(title: str, server: Served, tmp_path: Path) -> None:
    before = len(server.records())
    printed = [
        run(command, SECTIONS[title], tmp_path, ASKED.get(title, []))
        for command in section(title, server.url, tmp_path)
    ]
    recorded = server.records()[before:]
    assert recorded
    said = words("\n".join(printed))
    assert [each["response"] for each in recorded if words(each["response"]) not in said] == []


def words(text: str) -> str:
    """A text without what a terminal makes of it."""
    return " ".join(re.findall(r"\w+", text))
