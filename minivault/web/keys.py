"""API keys and log keys: how they are compared, and how a browser exchanges one for a cookie."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from enum import StrEnum
from hashlib import sha256
from math import ceil
from urllib.parse import parse_qs

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from minivault.parsing import MOST_FIELDS
from minivault.web.attempts import Attempts
from minivault.web.logins import Logins
from minivault.web.policies import LOGIN_POLICY

# Where the form may lead; anything else would let a link send people to a foreign page.
DESTINATIONS = ("/", "/docs", "/logs")


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


def login_routes(
    keyring: Keyring,
    templates: Jinja2Templates,
    *,
    refused: Callable[[str], None] = lambda reason: None,
) -> list[Route]:
    """`GET /login`, the form, `POST /login`, which takes a key and sets the cookie, `POST /logout`.

    `refused` is called with "login" for every key that was wrong or came too soon.
    """

    attempts = Attempts()

    def form(request: Request, destination: str, status: int = 200, wait: float = 0) -> Response:
        headers = {
            "Content-Security-Policy": LOGIN_POLICY,
            # Without its origin the form's own POST would look like another site's.
            "Referrer-Policy": "same-origin",
        }
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="MiniVault"'
        if wait:
            headers["Retry-After"] = str(ceil(wait))
        inside = any(keyring.caller(door, request.headers) for door in Door)
        context = {
            "destination": destination,
            "wrong": status == 401,
            "wait": ceil(wait),
            "inside": inside,
        }
        return templates.TemplateResponse(request, "login.html", context, status, headers)

    async def show(request: Request) -> Response:
        return form(request, _destination(request.query_params.get("next", "/")))

    async def exchange(request: Request) -> Response:
        fields = _form((await request.body()).decode("utf-8", "replace"))
        destination = _destination(fields.get("next", ["/"])[0])
        address = request.client.host if request.client else ""
        if wait := attempts.wait(address):
            refused("login")
            return form(request, destination, 429, wait)
        cookies = keyring.cookies(fields.get("key", [""])[0])
        if not cookies:
            refused("login")
            attempts.failed(address)
            return form(request, destination, 401)
        attempts.succeeded(address)
        response = RedirectResponse(destination, status_code=303)
        secure = request.url.scheme == "https"
        for name, value in cookies.items():
            response.set_cookie(name, value, httponly=True, samesite="strict", secure=secure)
        return response

    async def leave(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        response = RedirectResponse(f"{prefix}/login", status_code=303)
        for name in keyring.log_out(request.headers):
            response.delete_cookie(name, httponly=True, samesite="strict")
        return response

    return [
        Route("/login", show, methods=["GET"], name="login"),
        Route("/login", exchange, methods=["POST"]),
        Route("/logout", leave, methods=["POST"], name="logout"),
    ]


def _destination(asked: str) -> str:
    return asked if asked in DESTINATIONS else "/"


def _form(body: str) -> dict[str, list[str]]:
    try:
        return parse_qs(body, max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}  # so many fields hold no key


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
