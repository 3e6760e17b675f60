"""How far a download is, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a download: `done` of `total` bytes, now at `file`.

    `waiting` means that another process downloads the same model; `asking`, that the hub has not
    answered yet. In both, sizes are unknown and 0.
    """

    name: str
    phase: Literal["waiting", "asking", "downloading", "whole"]
    done: int = 0
    total: int = 0
    file: str = ""


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: until the hub is found and has answered, and between two bytes after that."""

    first_answer: float = 2.0
    stall: float = 30.0
