"""The pure modules of the page, tested by node's own test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tools import tool

SUITES = Path(__file__).parent / "js"


def test_the_pure_modules_keep_their_promises() -> None:
    files = sorted(SUITES.glob("*.test.mjs"))
    result = subprocess.run(
        [tool("node"), "--test", *map(str, files)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout[-5000:]
    assert f"# pass {result.stdout.count('# Subtest: ')}" in result.stdout
