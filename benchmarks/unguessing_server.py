"""`minivault serve` whose texts are not guessed ahead: `python -m … OPTIONS`."""

from __future__ import annotations

import sys

from minivault.cli import main
from minivault.engine.native import runner

if __name__ == "__main__":
    runner.ROW_COSTS = ()
    sys.exit(main(["serve", *sys.argv[1:]]))
