"""How far a server is with its model: what `/health`, the page and the terminal tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Stage:
    """Changes while the model is loaded or downloaded. Read from any thread, one field at a time.

    `wanted` is the model that is meant, `notice` a sentence for people where another one serves.
    `progress` is the share of a download, 0 to 1; None where there is none.
    """

    status: Literal["loading", "ready", "failed"] = "loading"
    detail: str = "the model is being loaded"
    wanted: str | None = None
    notice: str | None = None
    progress: float | None = None
