"""`python -m minivault` is the command line."""

import sys

from minivault.cli import main

sys.exit(main())
