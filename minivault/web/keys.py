"""API keys and log keys: how they are compared, and how a browser exchanges one for a cookie."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from urllib.parse import parse_qs

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from minivault.parsing import MOST_FIELDS
from minivault.web.policies import LOGIN_POLICY

# Where the form may lead; anything else would let a link send people to a foreign page.
DESTINATIONS = ("/", "/docs", "/logs")


class Door(StrEnum):
    """What a key opens; the value is the name of its cookie."""

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
        self._secret = secret
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
        cookie = _cookies(headers).get(door, "")
        found = [
            digest
            for digest in self._digests[door]
            if _equal(bearer, digest) | _equal(cookie, self._cookie(door, digest))
        ]
        return _digest(f"caller {found[0]}")[:16] if found else None

    def fits(self, door: Door, key: str) -> bool:
        """Whether this is a key of that door."""
        given = _digest(key)
        return sum(_equal(given, digest) for digest in self._digests[door]) > 0

    def cookies(self, key: str) -> dict[Door, str]:
        """The cookies that this key is worth, one for each door that it opens."""
        return {door: self._cookie(door, _digest(key)) for door in Door if self.fits(door, key)}

    def _cookie(self, door: Door, digest: str) -> str:
        message = f"minivault cookie {door} {digest}".encode()
        return hmac.new(self._secret, message, sha256).hexdigest()


def login_routes(keyring: Keyring, templates: Jinja2Templates) -> list[Route]:
    """`GET /login`, the form, and `POST /login`, which takes a key and sets the cookie."""

    def form(request: Request, destination: str, *, wrong: bool = False) -> Response:
        headers = {
            "Content-Security-Policy": LOGIN_POLICY,
            # Without its origin the form's own POST would look like another site's.
            "Referrer-Policy": "same-origin",
        }
        if wrong:
            headers["WWW-Authenticate"] = 'Bearer realm="MiniVault"'
        context = {"destination": destination, "wrong": wrong}
        status = 401 if wrong else 200
        return templates.TemplateResponse(request, "login.html", context, status, headers)

    async def show(request: Request) -> Response:
        return form(request, _destination(request.query_params.get("next", "/")))

    async def exchange(request: Request) -> Response:
        fields = _form((await request.body()).decode("utf-8", "replace"))
        destination = _destination(fields.get("next", ["/"])[0])
        cookies = keyring.cookies(fields.get("key", [""])[0])
        if not cookies:
            return form(request, destination, wrong=True)
        response = RedirectResponse(destination, status_code=303)
        secure = request.url.scheme == "https"
        for door, value in cookies.items():
            response.set_cookie(door, value, httponly=True, samesite="strict", secure=secure)
        return response

    return [
        Route("/login", show, methods=["GET"], name="login"),
        Route("/login", exchange, methods=["POST"]),
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


def _cookies(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            found.setdefault(name, value)
    return found
