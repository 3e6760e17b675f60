"""Long works that tell how far they are, line by line (application/x-ndjson)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from minivault.errors import MiniVaultError
from minivault.web.answers import as_json
from minivault.web.connection import while_connected

MEDIA_TYPE = "application/x-ndjson"
INTERVAL = 0.15  # seconds between two reports


@dataclass(slots=True)
class Progress:
    """How much is done; the work writes it, in any thread, and the answer reads it."""

    total: int
    done: int = 0


class Told(Protocol):
    """What can be asked how far it is."""

    @property
    def total(self) -> int: ...

    @property
    def done(self) -> int: ...


async def answer(
    request: Request, work: Coroutine[Any, Any, BaseModel], progress: Told
) -> Response:
    """The work's result as JSON; with progress before it if the client asks for x-ndjson.

    The work is cancelled when the client goes.
    """
    if MEDIA_TYPE not in request.headers.get("accept", ""):
        return as_json(await while_connected(request.receive, work))
    return StreamingResponse(_lines(work, progress), media_type=MEDIA_TYPE)


async def _lines(work: Coroutine[Any, Any, BaseModel], progress: Told) -> AsyncIterator[str]:
    """`{"done", "total"}` now and then, at last `{"result"}` or `{"problem"}`."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=INTERVAL))[0]:
            yield _line({"done": progress.done, "total": progress.total})
        yield _line({"result": (await task).model_dump(mode="json", exclude_unset=True)})
    except MiniVaultError as error:
        problem = {"title": error.title, "status": error.status, "detail": error.detail}
        yield _line({"problem": problem})
    finally:
        task.cancel()


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data) + "\n"
