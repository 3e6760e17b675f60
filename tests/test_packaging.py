"""The wheel: what is in it, and that it works alone in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

import minivault
from minivault.backends.named import BUILT_IN

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Of the storyteller's folder only what it was trained and measured with stays behind.
NOT_PACKED = {"valid.txt", "SOURCES.tsv"}


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command that must succeed; nothing of the checkout is in its environment."""
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def clean_environment() -> dict[str, str]:
    ours = ("MINIVAULT_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a venv with the wheel, this environment's libraries, and not the checkout."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file is put on sys.path as it is: an editable install there stays unread.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    return folder / "bin"


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "minivault/__init__.py"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == minivault.__version__


def test_the_built_in_backends_are_entry_points_like_everybody_elses() -> None:
    assert PROJECT["project"]["entry-points"]["minivault.backends"] == BUILT_IN


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("make")]
    assert commands == ["make lint", "make test"]


@pytest.mark.slow
def test_everything_a_server_needs_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("static", "templates", "models/storyteller"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        needed = {
            path.relative_to(ROOT).as_posix() for path in files if path.name not in NOT_PACKED
        }
        assert {f"minivault/{name}" for name in needed} <= packed
    assert {"minivault/py.typed", "minivault/cli/commands.py"} <= packed


@pytest.mark.slow
def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    packed = zipfile.ZipFile(wheel).namelist()
    info = f"minivault-{minivault.__version__}.dist-info/"
    assert [name for name in packed if not name.startswith(("minivault/", info))] == []
    assert [name for name in packed if Path(name).name in NOT_PACKED] == []
    assert f"{info}licenses/LICENSE" in packed


@pytest.mark.slow
def test_the_wheel_runs_without_the_checkout(bare: Path, tmp_path: Path) -> None:
    where = run(bare / "python", "-c", "import minivault; print(minivault.__file__)", cwd=tmp_path)
    assert where.startswith(str(bare.parent))
    assert minivault.__version__ in run(bare / "minivault", "version", cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_tells_a_story_in_an_empty_folder(bare: Path, tmp_path: Path) -> None:
    story = run(bare / "minivault", "generate", "Once", "--max-tokens", "8", cwd=tmp_path)
    assert story.strip()
    assert (tmp_path / "logs" / "log.jsonl").exists()


@pytest.mark.slow
def test_the_wheel_serves_the_page_and_its_files(bare: Path, tmp_path: Path) -> None:
    command = [str(bare / "minivault"), "serve", "--backend", "echo", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=clean_environment()
    )
    assert process.stdout is not None
    try:
        url = next(line.split()[1] for line in process.stdout if line.startswith("open"))
        with urllib.request.urlopen(url, timeout=60) as page:
            html = page.read().decode()
        files = re.findall(r'(?:href|src)="/?(static/[^"]+)"', html)
        assert files
        for name in files:
            with urllib.request.urlopen(url + name, timeout=60) as file:
                assert file.read()
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
