"""The pure modules of the page, tested by node's own test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tools import tool

SUITES = Path(__file__).parent / "js"


def test_the_pure_modules_keep_their_promises() -> None:
    """All in one process: node would start one for each file."""
    files = map(str, sorted(SUITES.glob("*.test.mjs")))
    load = "for (const file of process.argv.slice(1)) await import(file)"
    command = [tool("node"), "--test-reporter=tap", "--input-type=module", "--eval", load]
    result = subprocess.run([*command, *files], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout[-5000:]
    assert f"# pass {result.stdout.count('# Subtest: ')}" in result.stdout
