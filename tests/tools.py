"""Programs that tests drive: a missing one skips its tests, but under CI=true it fails them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import Any, NoReturn

import pytest

#: Whether every test takes its long form: `make faults`.
FULL = bool(os.environ.get("MINIVAULT_FULL"))


def mostly_slow(names: Iterable[str], *quick: str) -> list[Any]:
    """Parameters that take seconds together: only those that are `quick` are left to test-fast."""
    return [each if each in quick else pytest.param(each, marks=pytest.mark.slow) for each in names]


def tool(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    return found or leave_out(f"{name} is not installed")


def leave_out(what: str) -> NoReturn:
    """Leaves a test out; says why."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI must not skip")
    pytest.skip(what)
