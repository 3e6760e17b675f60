"""What holds for every test."""

from __future__ import annotations

import gc
import logging
import os
import ssl
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import settings

from tests.loop_watch import LoopWatch, limit
from tests.ports import reserved_port
from tests.schedule import FileScheduling, arrange
from tests.tools import FULL

# No timing in tests: a busy machine must not turn one red. Every run tries the same examples; ten
# times as many of them in `make faults`.
settings.register_profile(
    "minivault", deadline=None, derandomize=True, max_examples=400 if FULL else 40
)
settings.load_profile("minivault")


# Where nothing may be compiled for later (containers say so), each of the many processes that tests
# start would compile the whole package again, and every run all of the tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The models of tests are so small that a second thread of torch would only wait, at full speed.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _memory_for_files() -> str | None:
    """A folder in memory with plenty of room, from which programs can be run."""
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK):
        return None
    system = os.statvfs(folder)
    free, no_programs = system.f_bavail * system.f_frsize, system.f_flag & os.ST_NOEXEC
    return folder if free >= 4 << 30 and not no_programs else None


# Thousands of flushes to a disk would make the tests wait for it, and none of them cuts the power.
if (memory := _memory_for_files()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", memory)


AUTHORITIES = os.environ.get("SSL_CERT_FILE")


def _only_those_named(read: Callable[..., None]) -> Callable[..., None]:
    """Every HTTP client reads the system's authorities anew, 20 ms each time, even one that speaks
    plain HTTP with a server of this machine; and no test speaks with any other. Read are those
    that a test names."""

    def reading(*arguments: Any, **named: Any) -> None:
        if os.environ.get("SSL_CERT_FILE") != AUTHORITIES:
            read(*arguments, **named)

    return reading


for name in ("load_verify_locations", "set_default_verify_paths"):
    setattr(ssl.SSLContext, name, _only_those_named(getattr(ssl.SSLContext, name)))

# A process builds its commands once; here it runs many.
typer.main.get_command = cache(typer.main.get_command)

CLIENTS = Path(__file__).parent / "clients"
WATCH = LoopWatch()
WATCH.install()


@pytest.fixture(autouse=True)
def no_server_holds_its_loop() -> Iterator[None]:
    """One request must never make all others wait: see tests/loop_watch.py."""
    WATCH.reset()
    yield
    worst = WATCH.worst
    assert worst.seconds < limit(), f"{worst.what} held the loop for {worst.seconds:.3f} s"


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that begins later, or a second time."""
    with reserved_port() as reserved:
        yield reserved


@pytest.fixture(autouse=True)
def environment_stays_as_it_was() -> Iterator[None]:
    """Commands set variables for the processes they start; the next test must not inherit them."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    after["PYTEST_CURRENT_TEST"] = before["PYTEST_CURRENT_TEST"]  # its stage, which pytest says
    if after != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """A server that starts in this process sets levels and handlers; no other test's lines go by
    them."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger("minivault"), logging.getLogger("minivault.access")]
    handlers, levels = root.handlers[:], [(logger, logger.level) for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in levels:
        logger.setLevel(level)


#: Marks of tests that have a make target, and an environment, of their own.
APART = ("cluster", "image", "upstreams")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What no test of this run lies in is not even imported: files that are slow as a whole where
    slow tests are left out, and those that have a make target of their own elsewhere."""
    if collection_path == CLIENTS:
        return "clients" not in config.option.markexpr or None
    if collection_path.suffix != ".py":
        return None
    left_out = [
        f"mark.{name}" for name in ("slow", "browser") if f"not {name}" in config.option.markexpr
    ]
    left_out += [f"mark.{name}" for name in APART if name not in config.option.markexpr]
    _, _, marks = collection_path.read_text(encoding="utf-8").partition("\npytestmark = ")
    return any(mark in marks.partition("\n\n")[0] for mark in left_out) or None


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling | None:
    return FileScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: the collector need not walk over it again and again, and what
    thousands of small tests leave behind need not be looked through at each few hundred objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()
