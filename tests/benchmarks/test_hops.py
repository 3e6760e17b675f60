"""The ways of a prompt and of a token through the code are short, and do not grow by accident."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.processes import ROOT, environment

#: Functions of the package that each way may enter. Whoever makes one shorter writes it here.
MOST = {"down": 123, "up": 30}


@pytest.mark.slow
def test_no_way_got_longer() -> None:
    command = [sys.executable, "-m", "benchmarks.hops"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    found = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)", ended.stdout, re.M)}
    assert found.keys() == MOST.keys()
    assert all(found[way] <= MOST[way] for way in MOST), found
