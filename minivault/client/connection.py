"""A server's address and key, and the requests that go there."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from minivault.client.reading import Ask, error_of
from minivault.errors import Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
PATIENCE = 60.0  # seconds
SILENCE = 45.0  # seconds: a living server sends a ping every 15
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
JSON = {"Accept": "application/json"}


class _Address:
    def __init__(self, url: str | None, key: str | None, patience: float) -> None:
        self.url = (url or os.environ.get("MINIVAULT_URL") or DEFAULT_URL).rstrip("/")
        self.key = key or os.environ.get("MINIVAULT_API_KEY")
        self.patience = patience
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {self.key}"} if self.key else {},
            "timeout": httpx2.Timeout(SILENCE, connect=10),
            # A proxy that the environment names cannot reach this machine's own loopback.
            "trust_env": urlsplit(self.url).hostname not in LOOPBACK,
        }

    def nobody(self) -> Unreachable:
        """The error for an address at which no server answers."""
        return Unreachable(
            f"no server at {self.url}: start one with `minivault serve`, or name another address"
            " (Client(url) or MINIVAULT_URL)"
        )


class Connection(_Address):
    """To a server, for callers that block; safe in several threads. Use `with`, or `close` it.

    `url` and `key` default to MINIVAULT_URL (else this machine, port 8000) and MINIVAULT_API_KEY.
    `patience` is for how many seconds a text waits for a server that is away, full or loading.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, patience: float = PATIENCE
    ) -> None:
        super().__init__(url, key, patience)
        self._http = httpx2.Client(**self._options)

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Any route's JSON, or its `text`. Raises the server's error, or Unreachable."""
        try:
            return _json(self._http.request(method, path, headers=JSON, **options))
        except httpx2.TransportError as error:
            raise self.nobody() from error

    def stream(self, ask: Ask) -> AbstractContextManager[httpx2.Response]:
        return self._http.stream(ask.method, ask.path, headers=ask.headers, json=ask.body)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncConnection(_Address):
    """To a server, for callers that await: `Connection` in every other respect."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, patience: float = PATIENCE
    ) -> None:
        super().__init__(url, key, patience)
        self._http = httpx2.AsyncClient(**self._options)

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            return _json(await self._http.request(method, path, headers=JSON, **options))
        except httpx2.TransportError as error:
            raise self.nobody() from error

    def stream(self, ask: Ask) -> AbstractAsyncContextManager[httpx2.Response]:
        return self._http.stream(ask.method, ask.path, headers=ask.headers, json=ask.body)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _json(response: httpx2.Response) -> dict[str, Any]:
    if not response.is_success:
        retry_after = response.headers.get("retry-after", "")
        raise error_of(response.status_code, response.content, retry_after)
    is_text = response.headers.get("content-type", "").startswith("text/plain")
    content: dict[str, Any] = {"text": response.text} if is_text else response.json()
    return content
