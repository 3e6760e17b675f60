"""`python -m benchmarks` is `minivault bench`, run from the checkout."""

import sys

from minivault.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
