"""What a request body may be: small, not compressed, and JSON where a browser sends it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivault.errors import BodyTooLarge, MiniVaultError, UnsupportedMedia
from minivault.web import problems
from minivault.web.middleware.paths import route_path

LIMIT = 256 * 1024
FORMS = ("/login", "/logout")  # they work without a script, so they cannot send JSON


class BodyRules:
    """Refuses a body over the limit (413), a compressed one and a browser's that is not JSON (415).

    A body without a length is counted while it is read: the reader gets BodyTooLarge.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: int = LIMIT,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.app = app
        self.limit = limit
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        error = self._error(scope)
        if _ambiguous(Headers(scope=scope)):
            send = _closing(send)
        if error is None:
            return await self.app(scope, self._counted(receive), send)
        self.refused("body")
        await problems.answer(error)(scope, receive, send)

    def _error(self, scope: Scope) -> MiniVaultError | None:
        headers = Headers(scope=scope)
        if _length(headers) > self.limit:
            return self._too_large()
        if headers.get("content-encoding", "identity").lower() != "identity":
            return UnsupportedMedia("a compressed body is not read: send it as it is")
        if _from_browser(headers) and scope["method"] == "POST" and route_path(scope) not in FORMS:
            return _not_json(headers)
        return None

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.limit:
                self.refused("body")
                raise self._too_large()
            return message

        return counted_receive

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a request body has at most {self.limit} bytes")


def _ambiguous(headers: Headers) -> bool:
    """Two servers may disagree where such a request ends (RFC 9112, 6.1)."""
    return "content-length" in headers and "transfer-encoding" in headers


def _closing(send: Send) -> Send:
    """What comes behind the request is never read as another one: the connection ends with it."""

    async def closing_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(raw=message.setdefault("headers", []))["Connection"] = "close"
        await send(message)

    return closing_send


def _not_json(headers: Headers) -> UnsupportedMedia | None:
    """A page of another site can send text and forms unasked, but not application/json."""
    declared = headers.get("content-type")
    if declared is None and not _has_body(headers):
        return None
    if (declared or "").partition(";")[0].strip().lower() == "application/json":
        return None
    return UnsupportedMedia("a browser must send the body as Content-Type: application/json")


def _from_browser(headers: Headers) -> bool:
    return "origin" in headers or "sec-fetch-site" in headers


def _has_body(headers: Headers) -> bool:
    return _length(headers) > 0 or "transfer-encoding" in headers


def _length(headers: Headers) -> int:
    given = headers.get("content-length", "")
    return int(given[:20]) if given.isascii() and given.isdigit() else 0
