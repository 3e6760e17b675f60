"""What is said in one turn of the loop: one write to the journal, then it is shown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from minivault.background import kind
from minivault.errors import LogUnavailable
from minivault.generations.generation import Event, Generation
from minivault.metrics import Metrics
from minivault.trace import trace
from minivault.vault import Vault

logger = logging.getLogger(__name__)


class Speech:
    """Nobody hears what is not in the journal. Event loop only."""

    def __init__(self, vault: Vault, metrics: Metrics, halt: Callable[[Generation], None]) -> None:
        """`halt` stops the work for a generation that cannot be journaled."""
        self.vault = vault
        self._metrics = metrics
        self._halt = halt
        self._unsaid: list[tuple[Generation, dict[str, Any]]] = []

    def say(self, generation: Generation, said: dict[str, Any]) -> None:
        """Says a piece at the end of this turn of the loop, with all others that come in it."""
        if not self._unsaid:
            asyncio.get_running_loop().call_soon(self.flush)
        self._unsaid.append((generation, said))

    def flush(self) -> None:
        """Says now what is left to say. What cannot be written ends its generation as failed."""
        unsaid, self._unsaid = self._unsaid, []
        if not unsaid:
            return
        try:
            self.vault.pieces([(each.entry, said["text"]) for each, said in unsaid if each.entry])
        except Exception as failure:  # noqa: BLE001 - what is not in the journal is not said
            if isinstance(failure, LogUnavailable):
                error = failure
            else:
                logger.error("the journal raised:\n%s", trace(failure))
                error = LogUnavailable(f"the journal cannot be written: {kind(failure)}")
            for generation, said in reversed(unsaid):
                generation.text.take_back(said)
            for generation in dict.fromkeys(generation for generation, _ in unsaid):
                generation.failure = error
                self._halt(generation)
            return
        now = time.monotonic()
        for generation, said in unsaid:
            times = generation.times
            if times.last_token is None:
                times.first_token = now
                self._metrics.first_token(now - times.asked)
            else:
                self._metrics.between_tokens(now - times.last_token)
            times.last_token = now
            generation.append(Event(None, said))
