"""Names every request, catches whatever nobody foresaw, and writes one line about how it went.

The line never tells the query, which holds prompts.
"""

from __future__ import annotations

import logging
import re
import time
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from minivault.web import problems

_GENERATION_ID = re.compile(r"[A-Za-z0-9_-]{64}")  # who knows it whole can read the generation
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
LONGEST_PATH = 200
FILES = {"/favicon.ico", "/manifest.webmanifest"}
ROUTINE = {
    "/health",
    "/generate",
    "/logs/records",
    "/logs/history",
    "/logs/tree",
    "/logs/verify",
} | FILES
BELOW = ("/static/", "/generate/", "/logs/records/")

access = logging.getLogger("minivault.access")


class RequestId:
    """Takes X-Request-Id over if it is well-formed, else makes one; it goes back and into the log.

    `AnswerHeaders`, around it, sends it back, and notes the status that is answered.

    Routes find it as `request.state.request_id`. An exception becomes a bare 500, so that no server
    prints a traceback with its message. If the answer has begun it is left unfinished: the server
    then cuts the connection, and the client sees that something is missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if WELL_FORMED.fullmatch(given) else uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = time.monotonic()
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            pass  # it went while it sent its body; nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - this is the last net
            problems.log_unexpected(scope, error)
            if "status" not in state:
                await problems.internal()(scope, receive, send)
        finally:
            status = str(state.get("status", "-"))
            milliseconds = (time.monotonic() - began) * 1000
            # A path that can neither break the line nor steer a terminal; ids are shortened.
            short = _GENERATION_ID.sub(lambda id: f"{id[0][:8]}...", scope["path"][:LONGEST_PATH])
            path = quote(short, errors="replace")
            level = logging.DEBUG if _is_routine(path, status) else logging.INFO
            access.log(
                level,
                "%s %s %s %.1f ms %s",
                scope["method"],
                path,
                status,
                milliseconds,
                request_id,
            )


def _is_routine(path: str, status: str) -> bool:
    """What comes by the dozen with every page, and drowns the rest; not where it fails.

    Nor is a generation told of twice: it has a line of its own, with its place in the log. Whoever
    asks /health may be waiting for a model that loads, which it says by 503.
    """
    fine = status in ("200", "204", "304") or (path == "/health" and status == "503")
    return fine and (path in ROUTINE or path.startswith(BELOW))
