"""README.md, docs/ and CONTRIBUTING.md tell everything there is, and what they show works.

* A fenced block after `<!-- run -->` is run, in the folder of a real server with the storyteller:
  `sh` and `bash` by bash, `python` by Python, `js` by Node. Port 8000 stands for the server's port.
* The fenced block after `<!-- structure -->` is compared with the disk. Each line is one path and,
  after two spaces, a comment; children are indented. A folder with children lists all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from starlette.routing import Route
from typer.main import get_command

from minivault import cli
from minivault.app import create_app
from minivault.backends.echo import EchoBackend
from minivault.metrics import METRICS
from minivault.schemas import Client, FinishReason, GenerateRequest
from minivault.service import Service
from minivault.settings import Settings
from minivault.web.openai.misplaced import Signpost
from tests.processes import Served, environment, minivault, serving
from tests.tools import leave_out

ROOT = Path(__file__).parents[1]
EVENTS = ("start", "queued", "done", "stopped", "failed", "gone")
STATUSES = (400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 503)

#: The interpreter that a block's language is given to.
NODE = ["node", "--experimental-eventsource", "--input-type=module", "-e"]
INTERPRETERS = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": NODE,
}


@cache
def pages() -> dict[Path, str]:
    """What a reader has, by its file: README.md first."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def told() -> str:
    return "\n".join(pages().values())


def assert_none(found: list[str], what: str) -> None:
    """Fails with the whole list, one to a line."""
    assert not found, f"{what}:\n  " + "\n  ".join(found)


def assert_told(words: list[str]) -> None:
    assert_none(missing(words), "not in README.md, docs/ or CONTRIBUTING.md")


def missing(words: list[str]) -> list[str]:
    """Those that do not stand there as words of their own."""
    return [
        word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told())
    ]


def blocks(mark: str) -> list[tuple[str, str]]:
    """Language and text of the fenced blocks that come after a mark."""
    shape = rf"<!-- {mark} -->\s*```(\w*)\n(.*?)```"
    return [(match[1], match[2]) for match in re.finditer(shape, told(), re.DOTALL)]


# ---- everything is told -------------------------------------------------------------------------


def test_every_option_and_variable_is_told() -> None:
    options = [
        f"--no-{name.replace('_', '-')}" if field.default is True else f"--{name.replace('_', '-')}"
        for name, field in Settings.model_fields.items()
    ]
    variables = [f"MINIVAULT_{name.upper()}" for name in Settings.model_fields]
    assert_told(options + variables)


def test_every_default_is_told_beside_its_option() -> None:
    wrong = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, bool) or field.default is None or field.default_factory:
            continue
        rows = [line for line in told().splitlines() if f"MINIVAULT_{name.upper()}`" in line]
        if not any(str(field.default).removesuffix(".0") in row for row in rows):
            wrong.append(f"{name}: {field.default}")
    assert_none(wrong, "defaults that no page has")


def test_every_command_is_told() -> None:
    group = get_command(cli.app)
    names = [f"minivault {name}" for name in group.commands]  # type: ignore[attr-defined]
    logs = group.commands["logs"].commands  # type: ignore[attr-defined]
    assert_told(names + [f"logs {name}" for name in logs])


def test_every_route_is_told(tmp_path: Path) -> None:
    service = Service.opened(Settings(logs_dir=tmp_path / "logs"), EchoBackend())
    routes = create_app(service.settings, service).routes
    service.vault.close()
    told_of = [r for r in routes if isinstance(r, Route) and not isinstance(r, Signpost)]
    paths = {re.sub(r":\w+}", "}", route.path) for route in told_of}
    files = re.compile(r"\.(ico|webmanifest|png|svg|js|css)$")
    known = set(re.findall(r"[` ](/[^` ?]*)", told()))
    untold = [path for path in sorted(paths - known) if not files.search(path)]
    assert_none(untold, "routes that no page has")


def test_every_metric_event_reason_parameter_and_status_is_told() -> None:
    words = [metric.name for metric in METRICS]
    words += [*EVENTS, *FinishReason, *Client, *GenerateRequest.model_fields]
    assert_told(words + [str(status) for status in STATUSES])


def test_every_command_of_make_is_told() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert_told([f"make {target}" for target in targets if target != "help"])


def test_every_field_of_a_record_is_told(tmp_path: Path) -> None:
    ended = minivault("generate", "--backend", "echo", "--max-tokens", "2", "Hi", cwd=tmp_path)
    assert ended.returncode == 0
    record = json.loads((tmp_path / "logs" / "log.jsonl").read_text(encoding="ascii"))
    known = set(re.findall(r'["`](\w+)["`]', told()))
    assert_none(sorted(record.keys() - known), "fields of a record that no page has")


# ---- what it shows works ------------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    gone = []
    for page, text in pages().items():
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text)
        local = [one or other for one, other in links if not (one or other).startswith("http")]
        gone += [f"{page.name}: {link}" for link in local if not (page.parent / link).exists()]
    assert_none(gone, "links to nothing")


def test_links_to_a_heading_lead_to_one() -> None:
    anchors = {page: headings(text) for page, text in pages().items()}
    gone = []
    for page, text in pages().items():
        for file, anchor in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", text):
            target = (page.parent / file).resolve() if file else page
            if anchor not in anchors.get(target, set()):
                gone.append(f"{page.name}: {file}#{anchor}")
    assert_none(gone, "links to no heading")


def headings(text: str) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len(pages()[ROOT / "README.md"].splitlines()) <= 200


def test_some_examples_are_marked() -> None:
    assert {"python", "sh"} <= {"sh" if name == "bash" else name for name, _ in blocks("run")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readme")
    with serving(folder, "--model", "storyteller") as server:
        yield server


@pytest.fixture(scope="module")
def path_with_minivault(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `minivault` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "minivault"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minivault "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def works(interpreter: list[str]) -> bool:
    """Whether it is there, and knows its options: EventSource came to Node with version 20."""
    there = shutil.which(interpreter[0]) is not None
    return there and subprocess.run([*interpreter, ""], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("language, text", blocks("run"), ids=lambda part: part.split("\n")[0][:40])
def test_an_example_works(
    served: Served, path_with_minivault: str, language: str, text: str
) -> None:
    interpreter = INTERPRETERS[language]
    if not works(interpreter):
        leave_out(f"{interpreter[0]} is missing or too old")
    ended = subprocess.run(
        [*interpreter, text.replace(":8000", f":{served.port}")],
        cwd=served.folder,
        env=environment(PATH=path_with_minivault, MINIVAULT_URL=served.url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


# ---- the structure ------------------------------------------------------------------------------


def structure() -> list[str]:
    """The paths of the structure block, each from the root."""
    [(_, text)] = blocks("structure")
    found: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        bare = re.sub(r"[│├└─]", " ", line)
        if not bare.strip():
            continue
        indent = len(bare) - len(bare.lstrip())
        name = bare.split()[0]
        while parents and parents[-1][0] >= indent:
            parents.pop()
        path = (parents[-1][1] if parents else "") + name
        found.append(path)
        if name.endswith("/"):
            parents.append((indent, path))
    return found


def test_the_structure_names_nothing_that_is_not_there() -> None:
    gone = [path for path in structure() if not (ROOT / path).exists()]
    assert_none(gone, "in the structure of CONTRIBUTING.md, but not on the disk")


def test_a_folder_that_shows_its_files_shows_all_of_them() -> None:
    shown = set(structure())
    folders = {str(Path(path).parent) for path in shown}
    untold = {
        path
        for path in tracked()
        if str(Path(path).parent) in folders
        and path not in shown
        and not Path(path).name.startswith((".", "__"))
    }
    assert_none(sorted(untold), "on the disk, but not in the structure of CONTRIBUTING.md")


def tracked() -> set[str]:
    """What git knows: files, and the folders they are in with a slash at the end."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [Path(line) for line in listing.stdout.splitlines()]
    folders = {f"{parent}/" for file in files for parent in file.parents if parent != Path()}
    return folders | {str(file) for file in files}
