"""Attempts to get in: whoever gives wrong keys again and again has to wait between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

FREE = 5  # wrong keys before the first wait
LONGEST = 8.0  # seconds; each wrong key doubles the wait up to this
FORGOTTEN_AFTER = 600.0
MOST_ADDRESSES = 4096


class Attempts:
    """Counts wrong keys by where they come from; IPv6 by the network, which one client has whole.

    A right key is kept waiting too, else a wait would slow no guesses; but not one that has come
    from there before, so that nobody keeps out those who are in already. Cookies are no guesses.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[str, tuple[int, float]] = {}  # how many, and when the last one was
        self._proven: dict[tuple[str, str], None] = {}  # places, and the keys that came from there

    def wait(self, address: str, digest: str = "") -> float:
        """Seconds until a key from there, of this digest, is looked at; 0 if it is now."""
        if (_place(address), digest) in self._proven:
            return 0.0
        count, last = self._failures.get(_place(address), (0, 0.0))
        if count < FREE or self._now() - last > FORGOTTEN_AFTER:
            return 0.0
        return max(0.0, last + min(LONGEST, 2.0 ** (count - FREE)) - self._now())

    def failed(self, address: str) -> None:
        place, now = _place(address), self._now()
        count, last = self._failures.pop(place, (0, now))
        self._failures[place] = (1 if now - last > FORGOTTEN_AFTER else count + 1, now)
        if len(self._failures) > MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]

    def proved(self, address: str, digest: str) -> None:
        """A right key came from there, and is never kept waiting again."""
        self._proven[_place(address), digest] = None
        if len(self._proven) > MOST_ADDRESSES:
            del self._proven[next(iter(self._proven))]

    def succeeded(self, address: str) -> None:
        """Somebody logged in from there: what was wrong before is forgotten."""
        self._failures.pop(_place(address), None)


def _place(address: str) -> str:
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return known.exploded[:19]  # the first 64 bits
    return str(known)
