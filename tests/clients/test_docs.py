"""What docs/clients.md shows of each client works as it stands there.

A `json` or `yaml` block is the file that the line before it names. The others are run, in the
client's environment: `python`, `js` and `sh`. Port 8000 stands for the server's port.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.environments import DOCS, run
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
}
#: And those that are run by tests of their own.
ELSEWHERE = {"lm-evaluation-harness", "Open WebUI", "Kept silent", "What does not work"}

COMMANDS = {
    "python": ["python", "-"],
    "js": ["node", "--input-type=module", "-"],
    "sh": ["bash", "-euo", "pipefail", "-s"],
}


def section(title: str, url: str, folder: Path) -> list[tuple[str, str]]:
    """Language and text of what a section runs, for this server; its files are written."""
    text = DOCS.read_text(encoding="utf-8").replace("http://127.0.0.1:8000/", url)
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    for name, content in re.findall(r"`([\w.]+)`[^`\n]*:\n\n```\w+\n(.*?)```", found, re.S):
        (folder / name).write_text(content, encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", found, re.M | re.S)
    return [(language, content) for language, content in blocks if language in COMMANDS]


def test_every_section_is_run() -> None:
    titles = set(re.findall(r"^## (.+)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert titles == SECTIONS.keys() | ELSEWHERE


@pytest.mark.parametrize("title", SECTIONS)
def test_a_client_prints_what_the_vault_has(title: str, server: Served, tmp_path: Path) -> None:
    before = len(server.records())
    blocks = section(title, server.url, tmp_path)
    printed = [
        run(COMMANDS[language], SECTIONS[title], tmp_path, content) for language, content in blocks
    ]
    recorded = server.records()[before:]
    assert recorded
    said = words("\n".join(printed))
    assert [each["response"] for each in recorded if words(each["response"]) not in said] == []


def words(text: str) -> str:
    """A text without what a terminal makes of it."""
    return " ".join(re.findall(r"\w+", text))
