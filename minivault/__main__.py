"""The command line, as `minivault` and as `python -m minivault`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Runs one command and returns its exit code; Ctrl-C ends it without a word from the start."""
    # An import that is interrupted tells of itself, or takes the interruption for a missing module.
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, _end)
    from minivault.cli import main as run

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(130)  # nothing has been done yet that would have to be undone


if __name__ == "__main__":
    sys.exit(main())
