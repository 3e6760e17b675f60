"""What a query may be: no wider than any request needs."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from minivault.errors import InvalidRequest
from minivault.parsing import check_width
from minivault.web import problems


class QueryRules:
    """Refuses a query with too many parameters (422) before anybody takes it apart."""

    def __init__(
        self, app: ASGIApp, *, refused: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.app = app
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        query: bytes = scope["query_string"]
        try:
            check_width("query", query.count(b"&") + 1, "parameters")
        except InvalidRequest as error:
            self.refused("query")
            return await problems.answer(error)(scope, receive, send)
        await self.app(scope, receive, send)
