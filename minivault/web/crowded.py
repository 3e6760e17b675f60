"""What is answered in the application's place while every connection that can be open is in use."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from minivault.errors import Unavailable
from minivault.web import problems, sse

IN_USE = "all connections that this server can have are in use"


async def crowded(scope: Scope, receive: Receive, send: Send) -> None:
    """503; but a reader that comes back gets an empty event stream, and comes again.

    Any status but 200 would be the end for EventSource.
    """
    comes_back = "last-event-id" in Headers(scope=scope) or b"lastEventId=" in scope["query_string"]
    if comes_back:
        response = sse.come_again()
    else:
        response = problems.answer(Unavailable(f"{IN_USE}; come again in a moment"))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
