"""The headers that every answer has; a route that needs another policy sets its own."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivault.web.policies import PAGE_POLICY

HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class AnswerHeaders:
    """Adds the request's id, what is missing of `HEADERS`, and how long an answer may be kept.

    Routes and `RequestId` find the status that was answered as `request.state.status`.

    Where two servers may disagree where the request ends (RFC 9112, 6.1), the connection ends with
    the answer, so that what comes behind is never read as another request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                if "request_id" in state:  # not where who asks was turned away
                    headers["X-Request-Id"] = state["request_id"]
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", _cache(scope["path"]))
                asked = Headers(scope=scope)
                if "content-length" in asked and "transfer-encoding" in asked:
                    headers["Connection"] = "close"
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _cache(path: str) -> str:
    """Static files are asked for again but sent only if changed; everything else is not kept."""
    return "no-cache" if path.startswith("/static/") else "no-store"
