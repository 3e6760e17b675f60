"""The only door by which an HTTP request reaches the vault."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from minivault.generations import Audit
from minivault.service import Service

logger = logging.getLogger("minivault.web")


class AuditMiddleware:
    """Puts a begin/commit handle on the scope, and afterwards sees to it that nothing is left open.

    What was begun is committed by its generation, which may outlive the request; this only steps in
    for a record that no living generation owns.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        audit = Audit(self.service.vault)
        scope.setdefault("state", {})["audit"] = audit
        try:
            await self.app(scope, receive, send)
        finally:
            if audit.open:
                self.service.registry.settle(audit)
