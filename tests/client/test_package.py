"""minivault-client: the client in an environment that has httpx2 and nothing of a server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import minivault
from tests.live import live_server
from tests.processes import environment

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from minivault import Client

with Client() as client:
    answer = client.generate("one two three", max_tokens=5, seed=1).read()
    print(answer.text, answer.verify().seq)
print(sorted(sys.modules.keys() & {"torch", "numpy", "pydantic", "starlette", "transformers"}))
"""


def test_the_client_is_small() -> None:
    sources = (ROOT / "minivault" / "client").glob("*.py")
    lines = [line for each in sources for line in each.read_text().splitlines() if line.strip()]
    assert len(lines) < 600


def _needed(name: str) -> set[str]:
    """A distribution and all that it needs here."""
    requirements = [Requirement(each) for each in metadata.requires(name) or ()]
    wanted = [
        each for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})
    ]
    return {name}.union(*(_needed(each.name) for each in wanted))


@pytest.mark.slow
def test_the_client_runs_without_anything_of_a_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, *options, str(ROOT / "client")], check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"minivault_client-{minivault.__version__}-")
    venv.create(tmp_path / "venv", with_pip=False)
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for file in (file for name in _needed("httpx2") for file in metadata.files(name) or ()):
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), site / file)
    with live_server(tmp_path) as server:
        env = environment(MINIVAULT_URL=server.url) | {"PYTHONPATH": ""}
        python = tmp_path / "venv" / "bin" / "python"
        ran = subprocess.run(
            [python, "-c", PROGRAM], env=env, cwd=tmp_path, capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"
    assert ran.stdout.splitlines()[0].endswith(" 1")
