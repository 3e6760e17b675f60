"""What docs/clients.md shows of each client.

A `json` or `yaml` block is the file that the line before it names; `python`, `js` and `sh` blocks
are run. Port 8000 stands for the server's port.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
TITLES = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)

COMMANDS = {
    "python": ["python", "-c"],
    "js": ["node", "--input-type=module", "-e"],
    "sh": ["bash", "-euo", "pipefail", "-c"],
}


def silence() -> dict[str, str]:
    """The variables that keep clients silent."""
    (found,) = re.findall(r"^## Kept silent\n.*?```sh\n(.*?)```", PAGE, re.M | re.S)
    return dict(re.findall(r"(\w+)=(\S*)", found))


def section(title: str, url: str, folder: Path) -> list[list[str]]:
    """The commands that a section shows, for this server; its files are written."""
    page = PAGE.replace("http://127.0.0.1:8000/", url)
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    files = r"^.*?`([\w.]+\.\w+)`.*:\n\n```(?:json|yaml)\n((?:(?!```).*\n)*)```"
    for name, content in re.findall(files, found, re.M):
        (folder / name).write_text(content, encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", found, re.M | re.S)
    return [[*COMMANDS[language], text] for language, text in blocks if language in COMMANDS]
