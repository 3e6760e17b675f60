"""`minivault serve` with a profile of its event loop's thread: `python -m … FILE OPTIONS`."""

from __future__ import annotations

import cProfile
import sys

from minivault.cli import main


def run(file: str, options: list[str]) -> int:
    """Serves until a signal comes, then writes the profile to `file`."""
    profile = cProfile.Profile()
    try:
        return profile.runcall(main, ["serve", *options])
    finally:
        profile.dump_stats(file)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
