"""The application as others run it: made on access, one process to a port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import minivault.app
from minivault.app import asked_workers, refuse_workers
from minivault.errors import CannotStart
from tests.processes import environment


@pytest.mark.parametrize(
    "arguments, variable, count",
    [
        ([], None, "1"),
        (["minivault.app:app"], "", "1"),
        (["minivault.app:app"], "3", "3"),
        (["minivault.app:app", "--workers", "2"], None, "2"),
        (["minivault.app:app", "--workers=4", "--port", "0"], None, "4"),
        (["--workers", "1", "minivault.app:app"], "8", "1"),
        (["--workers", "2", "--workers", "1"], None, "1"),
        (["minivault.app:app", "--reload"], "4", "1"),
        (["--port", "2"], None, "1"),
    ],
)
def test_how_many_workers_uvicorn_was_told_to_start(
    arguments: list[str], variable: str | None, count: str
) -> None:
    env = {} if variable is None else {"WEB_CONCURRENCY": variable}
    assert asked_workers(arguments, env) == count


def test_one_worker_is_fine_and_two_are_told_how_to_scale_instead() -> None:
    refuse_workers("1")
    with pytest.raises(CannotStart, match=r"several servers.*--secret-file.*proxy"):
        refuse_workers("2")


def test_there_is_nothing_else_to_be_had_by_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        minivault.app.nothing  # noqa: B018 - asking is the test


def run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_importing_the_module_reads_no_environment_and_asking_for_the_app_does(
    tmp_path: Path,
) -> None:
    done = run("import minivault.app", tmp_path, MINIVAULT_BACKEND="no.such:Thing")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    done = run("from minivault.app import app", tmp_path, MINIVAULT_BACKEND="no.such:Thing")
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_app_is_made_once(tmp_path: Path) -> None:
    code = "import minivault.app as module; assert module.app is module.app"
    assert run(code, tmp_path, MINIVAULT_BACKEND="echo").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, env",
    [(["--workers", "2"], {}), ([], {"WEB_CONCURRENCY": "2"})],
    ids=["option", "variable"],
)
def test_uvicorn_with_several_workers_ends_with_a_sentence(
    tmp_path: Path, options: list[str], env: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "uvicorn", "minivault.app:app", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(MINIVAULT_BACKEND="echo", **env),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "2 workers cannot share one port" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_variable_that_leaves_no_key_is_named_under_uvicorn_too(tmp_path: Path) -> None:
    ended = run("import minivault.app; minivault.app.app", tmp_path, MINIVAULT_API_KEY=" , ")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: MINIVAULT_API_KEY: holds no key")
    assert ended.stderr.count("\n") == 1
