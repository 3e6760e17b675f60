"""API keys and log keys: how they are compared, and the cookies they are worth."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from math import ceil

from pydantic import SecretStr
from starlette.datastructures import Headers

from minivault.errors import TooManyWrongKeys
from minivault.web.attempts import Attempts
from minivault.web.ended_logins import EndedLogins
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
        ended: EndedLogins | None = None,
    ) -> None:
        """`ended`: where the logins are kept that were ended; only in memory without it.

        Raises ValueError for an empty key, which would let everybody in."""
        self.logins = Logins(secret, ended)
        self.attempts = Attempts()
        self._digests = {Door.API: _digests(api), Door.LOGS: _digests(logs)}
        self.guarded = frozenset(door for door in Door if self._digests[door])  # that have a key

    def caller(self, door: Door, headers: Headers, address: str = "") -> str | None:
        """A name for the key of this door that a request brings, as cookie or as Bearer token.

        None if it brings none. The name stays the same and does not tell the key. `address` is
        where the request comes from: raises TooManyWrongKeys if its token has to wait.
        """
        if door not in self.guarded:
            return None
        digest = self._logged_in(door, headers) or self._given(door, headers, address)
        return _digest(f"caller {digest}")[:16] if digest else None

    def is_inside(self, headers: Headers) -> bool:
        """Whether a request brings the cookie of a login that goes on."""
        return any(self._logged_in(door, headers) for door in Door)

    def _logged_in(self, door: Door, headers: Headers) -> str | None:
        """The digest of the key that a request's cookie was given for."""
        cookie = _cookie(headers, self.logins.name(door))
        holds = self.logins.holds
        return next((each for each in self._digests[door] if holds(door, each, cookie)), None)

    def _given(self, door: Door, headers: Headers, address: str) -> str | None:
        """The digest of the Bearer token, if it is a key of this door; a wrong key is counted.

        Some clients send it as x-api-key.
        """
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = headers.get("x-api-key", "")
        if not key.strip():
            return None
        # Starlette reads headers as Latin-1; programs send keys outside of ASCII as UTF-8.
        given = _digest(key.strip().encode("latin-1").decode("utf-8", "surrogateescape"))
        if wait := ceil(self.attempts.wait(address, given)):
            message = f"wrong keys came from this address; the next is looked at in {wait} s"
            raise TooManyWrongKeys(message, retry_after=wait)
        doors = [each for each in Door if _is_among(self._digests[each], given)]
        if doors:
            self.attempts.proved(address, given)
        else:
            self.attempts.failed(address)
        return given if door in doors else None

    def fits(self, door: Door, key: str) -> bool:
        """Whether this is a key of that door."""
        return _is_among(self._digests[door], _digest(key))

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
        """Ends the logins that a request brings; returns the names of all cookies to forget.

        Blocks while that is written.
        """
        names = {door: self.logins.name(door) for door in Door}
        for door, name in names.items():
            if self._logged_in(door, headers):
                self.logins.end(_cookie(headers, name))
        return list(names.values())


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _digests(keys: Iterable[SecretStr]) -> tuple[str, ...]:
    words = [key.get_secret_value() for key in keys]
    if not all(word.strip() for word in words):
        raise ValueError("an empty key would let everybody in")
    return tuple(_digest(word) for word in words)


def _is_among(digests: tuple[str, ...], given: str) -> bool:
    """In a time that does not tell which, or how much of it."""
    return sum(hmac.compare_digest(given, each) for each in digests) > 0


def _cookie(headers: Headers, wanted: str) -> str:
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                return value
    return ""
