"""The pure modules of the page, tested by node's own test runner."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SUITES = Path(__file__).parent / "js"


def test_the_pure_modules_keep_their_promises() -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node is missing, and CI must not skip")
        pytest.skip("node is not installed: the tests of the pure modules are left out")
    files = sorted(SUITES.glob("*.test.mjs"))
    result = subprocess.run(
        [node, "--test", *map(str, files)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout[-5000:]
    assert f"# pass {result.stdout.count('# Subtest: ')}" in result.stdout
