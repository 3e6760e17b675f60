"""How far a server is with its model: what `/health`, the page and the terminal tell."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

logger = logging.getLogger("minivault")


@dataclass(slots=True)
class Stage:
    """Changes while the model is loaded or downloaded. Read from any thread, one field at a time.

    `wanted` is the model that is meant, `notice` a sentence for people where another one serves.
    `progress` is the share of a download, 0 to 1; None where there is none. `warnings` are
    sentences: what costs speed, memory or a promise on this machine, and what would mend it.
    """

    status: Literal["loading", "ready", "failed"] = "loading"
    detail: str = "the model is being loaded"
    wanted: str | None = None
    notice: str | None = None
    progress: float | None = None
    warnings: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Tells it once: in the terminal, and in `/health` for as long as the server runs."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            logger.warning("%s", sentence)
