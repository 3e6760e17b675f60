"""Turns requests away: the one place where a check's error is counted and answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from minivault.errors import MiniVaultError
from minivault.web import problems

Check = Callable[[Scope], None]


class LedElsewhere(Exception):
    """Raised by a check that refuses with an answer of its own instead of a problem."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Guards:
    """Lets a request through that every check takes, in their order.

    A check raises a MiniVaultError, or LedElsewhere. `refused` is then called with its name.
    """

    def __init__(
        self, app: ASGIApp, *, checks: Mapping[str, Check], refused: Callable[[str], None]
    ) -> None:
        self.app = app
        self.checks = checks
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for reason, check in self.checks.items() if scope["type"] == "http" else ():
            try:
                check(scope)
            except LedElsewhere as error:
                self.refused(reason)
                return await error.answer(scope, receive, send)
            except MiniVaultError as error:
                self.refused(reason)
                return await problems.answer(error)(scope, receive, send)
        await self.app(scope, receive, send)
