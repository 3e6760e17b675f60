"""What a request body may be: small, not compressed, and JSON where a browser sends it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivault.errors import BodyTooLarge, UnsupportedMedia
from minivault.web.middleware.paths import is_openai, route_path

LIMIT = 256 * 1024
FORMS = ("/login", "/logout")  # they work without a script, so they cannot send JSON


def limit_of(scope: Scope, openai: int) -> int:
    """How long a body may be, in bytes; `openai`: over /v1, where whole histories come."""
    return openai if is_openai(route_path(scope)) else LIMIT


def check_body(scope: Scope, openai: int = LIMIT) -> None:
    """By the headers. Raises BodyTooLarge or UnsupportedMedia."""
    headers = Headers(scope=scope)
    given = headers.get("content-length", "")
    length = int(given[:20]) if given.isascii() and given.isdigit() else 0
    if length > (limit := limit_of(scope, openai)):
        raise _too_large(limit)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("a compressed body is not read: send it as it is")
    from_browser = "origin" in headers or "sec-fetch-site" in headers
    if from_browser and scope["method"] == "POST" and route_path(scope) not in FORMS:
        # A page of another site can send text and forms unasked, but not application/json.
        declared = headers.get("content-type")
        has_body = declared is not None or length or "transfer-encoding" in headers
        if has_body and (declared or "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMedia("a browser must send the body as Content-Type: application/json")


class BodyLimit:
    """Counts a body while it is read: one without a length, or with a wrong one.

    Whoever reads beyond the limit gets BodyTooLarge, and `refused` is called with "body".
    """

    def __init__(
        self, app: ASGIApp, *, refused: Callable[[str], None], openai: int = LIMIT
    ) -> None:
        self.app = app
        self.refused = refused
        self.openai = openai

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        size, limit = 0, limit_of(scope, self.openai)

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                self.refused("body")
                raise _too_large(limit)
            return message

        await self.app(scope, counted_receive, send)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"a request body has at most {limit} bytes")
