"""How many tokens a prompt has, as upstream servers tell: two are asked, under one deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any

from minivault.backends.upstream.server import UpstreamServer

COUNTING = 5.0  # seconds that counting a prompt may take
ASKED = 2  # servers that are asked for it

logger = logging.getLogger("minivault")


class Counting:
    """Counts in the loop in which it was made, for any other thread."""

    def __init__(self, servers: Sequence[UpstreamServer]) -> None:
        self._servers = servers
        self._loop = asyncio.get_running_loop()
        self.notice: str | None = None  # why prompts are not counted now, though they could be

    def count(self, prompt: str) -> int | None:
        """The prompt's tokens; None if none of those who are asked tells them."""
        able = ((each, found) for each in self._servers if (found := each.counting(prompt)))
        asked = list(islice(able, ASKED))
        deadline = time.monotonic() + COUNTING
        for number, (server, (path, body)) in enumerate(asked):
            seconds = (deadline - time.monotonic()) / (len(asked) - number)
            told = server.counted(path, json.dumps(body).encode(), seconds)
            count = self._told(told, seconds)
            if count is not None:
                self._say(None)
                return count
        if asked:
            self._say("no upstream server counts prompts now; they are sent without")
        return None

    def _told(self, work: Coroutine[Any, Any, bytes | None], seconds: float) -> int | None:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            return None
        try:
            told = json.loads(future.result(seconds + COUNTING) or "{}")
            count = int(told["count"] if "count" in told else len(told["tokens"]))
            return count if count >= 0 else None
        except (KeyError, TypeError, ArithmeticError, ValueError):
            return None
        except (TimeoutError, RuntimeError, CancelledError):  # it ends, too
            future.cancel()
            return None

    def _say(self, notice: str | None) -> None:
        """Once, until one counts again."""
        if notice and not self.notice:
            logger.warning("%s", notice)
        self.notice = notice
