"""A text that is being received, for callers that block and for callers that await."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, Self

import httpx2

from minivault.client.connection import AsyncConnection, Connection
from minivault.client.proof import require_proof
from minivault.client.reading import Reading, Receipt
from minivault.errors import MiniVaultError, NotProven


class _Told:
    """What is known of a text; complete once it has been read to its end."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def text(self) -> str:
        """What has come so far; nothing is fetched for it."""
        return self._reading.text

    @property
    def id(self) -> str | None:
        """The generation's signed id, from its first event on."""
        return self._reading.start.get("id")

    @property
    def model(self) -> str | None:
        return self._reading.start.get("model")

    @property
    def seed(self) -> int | None:
        """What makes the same text again, with the same prompt and parameters."""
        return self._reading.start.get("seed")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters in force, defaults included."""
        return dict(self._reading.start.get("params", {}))

    @property
    def finish_reason(self) -> str | None:
        """`stop`, `length`, `cancelled`, `disconnected`, `interrupted`; None before the end."""
        return self._reading.end.get("finish_reason")

    @property
    def usage(self) -> dict[str, int]:
        """`prompt_tokens` and `completion_tokens`, at the end."""
        return dict(self._reading.end.get("usage") or {})

    @property
    def receipt(self) -> Receipt | None:
        """Where the record stands in the log; only once its line is on the server's disk."""
        receipt = self._reading.end.get("receipt")
        return Receipt(**receipt) if receipt else None

    @property
    def logprobs(self) -> list[dict[str, Any]]:
        """A token each, where `top_logprobs` asked for them."""
        return list(self._reading.logprobs)

    def _receipt(self) -> Receipt:
        if not self.receipt:
            raise NotProven("there is no receipt yet: read the text to its end first")
        return self.receipt

    def _line(self) -> tuple[str, str]:
        return "GET", f"/logs/records/{self._receipt().seq}"

    def _proof(self) -> tuple[str, str]:
        return "GET", f"/logs/records/{self._receipt().seq}/proof?hash_only=true"

    def _compare(self, detail: dict[str, Any]) -> None:
        line, record, receipt = detail["line"], json.loads(detail["line"]), self._receipt()
        if record.get("redacted"):
            raise NotProven(f"record {receipt.seq} was redacted")
        if hashlib.sha256(line.encode()).hexdigest() != receipt.hash:
            raise NotProven(f"record {receipt.seq} is not the line that the receipt was given for")
        if record.get("response") is not None and record["response"] != self.text:
            raise NotProven(f"record {receipt.seq} holds another text than the one that came")


class Answer(_Told):
    """Iterate it for its pieces, or take `str()` of it. Leaving a `with` block early stops it."""

    def __init__(self, to: Connection, reading: Reading) -> None:
        super().__init__(reading)
        self._to = to
        self._pieces = self._receive()

    def __iter__(self) -> Iterator[str]:
        """The pieces from where it stands. Comes back after a cut by itself; raises Gone,
        Unreachable or Incomplete, with the text so far, where nothing more will come."""
        return self._pieces

    def __str__(self) -> str:
        return self.read().text

    def read(self) -> Self:
        """All of it."""
        for _ in self._pieces:
            pass
        return self

    def stop(self) -> None:
        """Tells the server to stop; what has been said until then can still be read."""
        if self.id and not self._reading.over:
            self._to.request("DELETE", self._reading.address)

    def verify(self, public_key: str | None = None) -> Receipt:
        """Holds text and receipt against the server's log, and that against who signs it.

        See `require_proof` for the key. Raises NotProven where they differ.
        """
        self._compare(self._to.request(*self._line()))
        if public_key:
            proof = self._to.request(*self._proof())
            require_proof(proof["text"], self._receipt(), public_key)
        return self._receipt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.stop()
        except MiniVaultError:
            if kind is None:
                raise
        finally:
            self._pieces.close()

    def _receive(self) -> Generator[str, None, None]:
        reading = self._reading
        while not reading.over:
            try:
                with self._to.stream(reading.ask()) as response:
                    if response.status_code == 200:
                        for chunk in response.iter_bytes():
                            yield from reading.feed(chunk)
                        pause = 0.0 if reading.over else reading.cut("it hung up")
                    else:
                        response.read()
                        pause = reading.refused(*_refusal(response))
            except httpx2.TransportError as error:
                pause = reading.cut(_nobody(self._to, error, reading))
            time.sleep(pause)


class AsyncAnswer(_Told):
    """Iterate it with `async for`, or await it. Leaving an `async with` block early stops it."""

    def __init__(self, to: AsyncConnection, reading: Reading) -> None:
        super().__init__(reading)
        self._to = to
        self._pieces = self._receive()

    def __aiter__(self) -> AsyncIterator[str]:
        """As `Answer` is iterated."""
        return self._pieces

    def __await__(self) -> Generator[Any, None, Self]:
        return self.read().__await__()

    async def read(self) -> Self:
        """All of it."""
        async for _ in self._pieces:
            pass
        return self

    async def stop(self) -> None:
        """Tells the server to stop; what has been said until then can still be read."""
        if self.id and not self._reading.over:
            await self._to.request("DELETE", self._reading.address)

    async def verify(self, public_key: str | None = None) -> Receipt:
        """As that of `Answer`."""
        self._compare(await self._to.request(*self._line()))
        if public_key:
            proof = await self._to.request(*self._proof())
            require_proof(proof["text"], self._receipt(), public_key)
        return self._receipt()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self.stop()
        except MiniVaultError:
            if kind is None:
                raise
        finally:
            await self._pieces.aclose()

    async def _receive(self) -> AsyncGenerator[str, None]:
        reading = self._reading
        while not reading.over:
            try:
                async with self._to.stream(reading.ask()) as response:
                    if response.status_code == 200:
                        async for chunk in response.aiter_bytes():
                            for piece in reading.feed(chunk):
                                yield piece
                        pause = 0.0 if reading.over else reading.cut("it hung up")
                    else:
                        await response.aread()
                        pause = reading.refused(*_refusal(response))
            except httpx2.TransportError as error:
                pause = reading.cut(_nobody(self._to, error, reading))
            await asyncio.sleep(pause)


def _refusal(response: httpx2.Response) -> tuple[int, bytes, str]:
    return response.status_code, response.content, response.headers.get("retry-after", "")


def _nobody(
    to: Connection | AsyncConnection, error: httpx2.TransportError, reading: Reading
) -> str:
    """Why a connection failed; raises at once where no server ever answered."""
    if not reading.met and isinstance(error, httpx2.ConnectError):
        raise to.nobody() from error
    return type(error).__name__
