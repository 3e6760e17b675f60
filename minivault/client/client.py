"""What can be asked of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from minivault.client.answer import Answer, AsyncAnswer
from minivault.client.connection import AsyncConnection, Connection
from minivault.client.reading import Reading

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

REPLAY = 3600.0  # seconds: a replay waits behind everybody else

Messages = list[dict[str, str]]


class Client(Connection):
    """A server: texts, and its log."""

    def generate(
        self, prompt: str | None = None, *, messages: Messages | None = None, **parameters: Any
    ) -> Answer:
        """A text for a prompt or a conversation; parameters are those of POST /generate."""
        return Answer(self, _reading(self, prompt, messages, parameters))

    def records(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Summaries of the log's records, newest first; filters are those of /logs/records."""
        page: dict[str, Any] = {"before": None}
        while True:
            page = self.request("GET", "/logs/records", params=_after(page, filters))
            yield from page["records"]
            if page["before"] is None:
                return

    def record(self, seq: int) -> dict[str, Any]:
        """A record: `line` as it stands in the log, its `hash`, and its fields as `record`."""
        return self.request("GET", f"/logs/records/{seq}")

    def replay(self, seq: int) -> dict[str, Any]:
        """Lets the server make a record's text again and compare."""
        return self.request("POST", f"/logs/records/{seq}/replay", timeout=REPLAY)

    def models(self) -> dict[str, Any]:
        """The models on the server's disk, and the one that serves."""
        return self.request("GET", "/models")

    def health(self) -> dict[str, Any]:
        """What /health says; raises Unavailable, with the reason, while nothing is served."""
        return self.request("GET", "/health")

    def openai(self) -> OpenAI:
        """A client of the openai package for this server. Raises ImportError without it."""
        from openai import OpenAI

        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key or "none")


class AsyncClient(AsyncConnection):
    """A server: texts, and its log. `Client`, for callers that await."""

    def generate(
        self, prompt: str | None = None, *, messages: Messages | None = None, **parameters: Any
    ) -> AsyncAnswer:
        return AsyncAnswer(self, _reading(self, prompt, messages, parameters))

    async def records(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        page: dict[str, Any] = {"before": None}
        while True:
            page = await self.request("GET", "/logs/records", params=_after(page, filters))
            for record in page["records"]:
                yield record
            if page["before"] is None:
                return

    async def record(self, seq: int) -> dict[str, Any]:
        return await self.request("GET", f"/logs/records/{seq}")

    async def replay(self, seq: int) -> dict[str, Any]:
        return await self.request("POST", f"/logs/records/{seq}/replay", timeout=REPLAY)

    async def models(self) -> dict[str, Any]:
        return await self.request("GET", "/models")

    async def health(self) -> dict[str, Any]:
        return await self.request("GET", "/health")

    def openai(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key or "none")


def _reading(
    to: Connection | AsyncConnection,
    prompt: str | None,
    messages: Messages | None,
    parameters: dict[str, Any],
) -> Reading:
    request = {"prompt": prompt, "messages": messages, **parameters}
    return Reading({k: v for k, v in request.items() if v is not None}, to.patience)


def _after(page: dict[str, Any], filters: dict[str, Any]) -> dict[str, Any]:
    return filters if page["before"] is None else filters | {"before": page["before"]}
