"""What somebody at a terminal waits for, said while it lasts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says it on stderr, where that is a terminal, and takes it back at the end."""
    seen = sys.stderr.isatty()
    if seen:
        print(f"{_DIM}{what} …{_PLAIN}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if seen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
