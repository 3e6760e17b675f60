"""Logins of browsers: cookies that are proofs, and can be ended."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from hashlib import sha256

from minivault.web.ended_logins import LIFETIME, EndedLogins

_COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.[0-9a-f]{64}")


class Logins:
    """A cookie says which login it is, since when, and proves that we gave it for a key.

    Nothing is kept of those that go on, so servers that share a secret accept each other's; kept
    are those that were ended.
    """

    def __init__(self, secret: bytes, ended: EndedLogins | None = None) -> None:
        self._secret = secret
        self._ended = ended or EndedLogins()

    def name(self, door: str) -> str:
        """The cookie's name. Cookies know no ports: two servers on one host need two names."""
        return f"{door}_{self._mac('cookie name')[:8]}"

    def begin(self, door: str, digest: str) -> str:
        """The cookie of a new login with the key of this digest."""
        nonce, began = secrets.token_hex(16), str(int(time.time()))
        return f"{nonce}.{began}.{self._proof(door, digest, nonce, began)}"

    def holds(self, door: str, digest: str, cookie: str) -> bool:
        """Whether this cookie was given for that key, and neither ended nor grew too old."""
        match = _COOKIE.fullmatch(cookie)
        if not match or int(match[2]) < time.time() - LIFETIME:
            return False
        nonce, began, proof = cookie.split(".")
        is_ours = hmac.compare_digest(proof, self._proof(door, digest, nonce, began))
        return is_ours and nonce not in self._ended

    def end(self, cookie: str) -> None:
        """From now on nobody gets in with this cookie, one that `holds`. Blocks."""
        nonce, began, _ = cookie.split(".")
        self._ended.add(nonce, int(began))

    def _proof(self, door: str, digest: str, nonce: str, began: str) -> str:
        return self._mac(f"cookie {door} {digest} {nonce} {began}")

    def _mac(self, message: str) -> str:
        return hmac.new(self._secret, f"minivault {message}".encode(), sha256).hexdigest()
