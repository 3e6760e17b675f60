"""API keys and log keys: how they are compared, and the cookies they are worth."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

from pydantic import SecretStr
from starlette.datastructures import Headers

from minivault.web.logins import Logins


class Door(StrEnum):
    """What a key opens; the value begins the name of its cookie."""

    API = "minivault_key"
    LOGS = "minivault_log_key"


class Keyring:
    """The keys of a server. Only their SHA-256 is kept, and compared in constant time.

    `secret` makes the cookies: servers that share it accept each other's.
    """

    def __init__(
        self,
        *,
        api: Iterable[SecretStr] = (),
        logs: Iterable[SecretStr] = (),
        secret: bytes,
    ) -> None:
        """Raises ValueError for an empty key, which would let everybody in."""
        self.logins = Logins(secret)
        self._digests = {Door.API: _digests(api), Door.LOGS: _digests(logs)}

    def guards(self, door: Door) -> bool:
        """Whether this door has a key at all."""
        return bool(self._digests[door])

    def caller(self, door: Door, headers: Headers) -> str | None:
        """A name for the key of this door that a request brings, as Bearer token or as cookie.

        None if it brings none. The name stays the same and does not tell the key.
        """
        if not self.guards(door):
            return None
        scheme, _, key = headers.get("authorization", "").partition(" ")
        bearer = _digest(_as_sent(key.strip())) if scheme.lower() == "bearer" else ""
        cookie = _cookie(headers, self.logins.name(door))
        found = [
            digest
            for digest in self._digests[door]
            if _equal(bearer, digest) | self.logins.holds(door, digest, cookie)
        ]
        return _digest(f"caller {found[0]}")[:16] if found else None

    def fits(self, door: Door, key: str) -> bool:
        """Whether this is a key of that door."""
        given = _digest(key)
        return sum(_equal(given, digest) for digest in self._digests[door]) > 0

    def cookies(self, key: str) -> dict[str, str]:
        """The cookies that this key is worth, by name: one for each door that it opens."""
        doors = [door for door in Door if self.fits(door, key)]
        return {self.logins.name(door): self.logins.begin(door, _digest(key)) for door in doors}

    @property
    def cookie_names(self) -> dict[str, str]:
        """By their names in the API's description."""
        names = self.logins.name
        return {"cookie": names(Door.API), "log_cookie": names(Door.LOGS)}

    def log_out(self, headers: Headers) -> list[str]:
        """Ends the logins that a request brings; returns the names of all cookies to forget."""
        names = {door: self.logins.name(door) for door in Door}
        for door, name in names.items():
            cookie = _cookie(headers, name)
            if any(self.logins.holds(door, digest, cookie) for digest in self._digests[door]):
                self.logins.end(cookie)
        return list(names.values())


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _as_sent(header: str) -> str:
    """Starlette reads headers as Latin-1; programs send keys outside of ASCII as UTF-8."""
    return header.encode("latin-1").decode("utf-8", "surrogateescape")


def _digests(keys: Iterable[SecretStr]) -> tuple[str, ...]:
    words = [key.get_secret_value() for key in keys]
    if not all(word.strip() for word in words):
        raise ValueError("an empty key would let everybody in")
    return tuple(_digest(word) for word in words)


def _equal(given: str, expected: str) -> bool:
    """As bytes: compare_digest takes no str outside of ASCII, and a header may hold one."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _cookie(headers: Headers, wanted: str) -> str:
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                return value
    return ""
