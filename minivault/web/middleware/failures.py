"""The last net: what nobody foresaw becomes a bare 500, and a log line without prompts."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivault.web import problems


class Failures:
    """Catches every exception, so that no server prints a traceback with its message.

    If the answer has begun it is left unfinished: the server then cuts the connection, and the
    client sees that something is missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientDisconnect:
            return  # The client went while it sent its body; nobody is there to be answered.
        except Exception as error:  # noqa: BLE001 - this is the net
            problems.log_unexpected(scope, error)
            if not started:
                await problems.internal()(scope, receive, send)
