"""A small real application behind the real middleware, that notes what got through."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates
from starlette.testclient import TestClient

from minivault.parsing import parse_body
from minivault.resources import resource
from minivault.settings import Settings
from minivault.web.keys import Keyring
from minivault.web.login import login_routes
from minivault.web.middleware import protection
from minivault.web.problems import exception_handlers

SECRET = b"a secret that only these tests know"
OWN = "http://127.0.0.1:8000"
COOKIES = {"cookie": "minivault_key_1", "log_cookie": "minivault_log_key_1"}
TEMPLATES = Jinja2Templates(resource("templates"))


_read: dict[str, Settings] = {}


def settings_of(**options: Any) -> Settings:
    """Read once for all tests: that takes longer than most of them."""
    variables = {k: v for k, v in os.environ.items() if k.startswith("MINIVAULT_")}
    key = repr((options, variables))
    if key not in _read:
        _read[key] = Settings(_env_file=None, **options)
    return _read[key]


class Guarded:
    """The application and what happened in it: `ran` are the paths that reached a route."""

    def __init__(self, *, host: str = "127.0.0.1", **options: Any) -> None:
        self.ran: list[str] = []
        self.states: list[dict[str, Any]] = []
        self.reasons: list[str] = []
        settings = settings_of(host=host, **options)
        keyring = Keyring(api=settings.api_key, logs=settings.log_key, secret=SECRET)
        self.app = Starlette(
            routes=[
                *self._routes(),
                *login_routes(keyring, TEMPLATES, refused=self.reasons.append),
            ],
            middleware=protection(settings, keyring, refused=self.reasons.append),
            exception_handlers=exception_handlers,
        )

    def client(self, base_url: str = OWN) -> TestClient:
        return TestClient(self.app, base_url=base_url, follow_redirects=False)

    def status(
        self,
        method: str,
        url: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes = b"",
        server: tuple[str, int] = ("127.0.0.1", 8000),
    ) -> int:
        """The status of the answer to a request as no client library would send it."""
        path, _, query = url.partition("?")
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
            "server": server,
            "scheme": "http",
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return int(sent[0]["status"])

    def _routes(self) -> list[Route]:
        pages = ["/", "/docs", "/health", "/metrics", "/models", "/openapi.json", "/static/a.css"]
        return [
            *(Route(path, self._note) for path in pages),
            Route("/generate", self._note, methods=["GET"]),
            Route("/generate", self._generate, methods=["POST"]),
            Route("/generate/{id}", self._note, methods=["GET"]),
            Route("/generate/{id}", self._note, methods=["DELETE"]),
            Route("/generate/{id}/stop", self._note, methods=["POST"]),
            Route("/logs", self._note),
            Route("/logs/records", self._note),
            Route("/logs/records/{seq}/replay", self._note, methods=["POST"]),
        ]

    async def _note(self, request: Request) -> Response:
        self.ran.append(request.url.path)
        self.states.append(dict(request.scope["state"]))
        return JSONResponse({"ran": request.url.path})

    async def _generate(self, request: Request) -> Response:
        asked = parse_body(await request.body())
        self.ran.append(request.url.path)
        return JSONResponse(asked.model_dump(mode="json"))
