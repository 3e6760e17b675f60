"""One replica under Ray Serve: a whole MiniVault server, vault and model and page and all."""

from __future__ import annotations

import logging.config
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivault.app import create_app
from minivault.cluster.fleet import DEPLOYMENT
from minivault.cluster.haproxy import place_of
from minivault.console_log import LOG_CONFIG
from minivault.errors import BackendFailed
from minivault.server import refuse_open_address
from minivault.service import Service
from minivault.settings import Settings


@serve.ingress()
class Replica:
    """Serve makes one in each process. It is ready when its model serves."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.service: Service | None = None

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Serve, which runs the application's lifespan then, and starts its server."""
        logging.config.dictConfig(LOG_CONFIG)
        refuse_open_address(self.settings.host, self.settings)  # nobody else looks at it here
        self.service = Service.opened(self.settings)
        place = place_of(serve.get_replica_context().replica_id.unique_id)
        self.service.registry.ids.place = urlsafe_b64decode(place)
        return UnnamedRequests(create_app(self.settings, self.service, ready_first=True))

    async def check_health(self) -> None:
        """Raises where the engine does not work: Serve puts another replica in its place.

        A log that cannot be written is no reason: another process could not write it either.
        """
        if self.service and (reason := self.service.engine_problem()):
            raise BackendFailed(f"the engine does not work: {reason}")

    async def drain(self) -> None:
        """Takes nothing new, and returns when all is ended and recorded."""
        if self.service:
            await self.service.drained()


class UnnamedRequests:
    """Leaves X-Request-Id to Serve, which names every request before us and says so after us."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                kept = [each for each in headers if each[0].lower() != b"x-request-id"]
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, receive, send_unnamed)


def application(settings: Settings, **options: Any) -> Any:
    """What `serve.run` takes. `options`: of the deployment."""
    return serve.deployment(Replica, name=DEPLOYMENT, **options).bind(settings)


def build(arguments: Mapping[str, Any]) -> Any:
    """The application of Serve's configuration file; `args` there are settings by their names."""
    return application(Settings(**arguments))
