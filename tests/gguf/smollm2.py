"""The real chat model of the tests, where it is on the disk."""

from __future__ import annotations

from pathlib import Path

from tests.tools import leave_out

FOLDER = Path(__file__).parents[2] / "models" / "smollm2"


def smollm2() -> Path:
    """Its GGUF file."""
    found = next(FOLDER.glob("*.gguf"), None)
    return found or leave_out("models/smollm2 is not here (minivault pull smollm2)")
