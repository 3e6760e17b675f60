"""Retention: which old files are removed, by their number and by the time of their records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO

from minivault.errors import ChainBroken
from minivault.vault.chain import Chain, Head
from minivault.vault.segments import NAME, Segment

_TIMESTAMP = re.compile(rb'\{"timestamp":"([^"\\]{10,40})"')


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file is begun, and which old ones are removed."""

    max_bytes: int = 64 * 2**20
    keep_files: int | None = None
    keep_days: float | None = None

    def given_up(self, files: list[Segment]) -> list[Segment]:
        """The oldest files, which are no longer kept. Raises ChainBroken, OSError.

        A file whose age cannot be read is kept, and with it all that are newer.
        """
        rotated = [each for each in files if each.name != NAME]
        surplus = len(rotated) - self.keep_files if self.keep_files is not None else 0
        count = max(0, surplus)
        while count < len(rotated) and self._is_too_old(rotated[count]):
            count += 1
        return rotated[:count]

    def _is_too_old(self, segment: Segment) -> bool:
        """By its newest record: copying, packing and touching a file change its own date."""
        if self.keep_days is None:
            return False
        try:
            found = _TIMESTAMP.match(segment.last_line())
            newest = datetime.fromisoformat(found[1].decode()) if found else None
            newest = newest.replace(tzinfo=newest.tzinfo or UTC) if newest else None
            return bool(newest and newest < datetime.now(UTC) - timedelta(days=self.keep_days))
        except (ChainBroken, ValueError, OverflowError):
            return False


def require_following(before: Head, files: Iterable[Segment]) -> Head:
    """The newest record of these files. Raises ChainBroken unless each begins where the one before
    ends, the first after record `before`.

    So much must be seen before old files are removed: a beginning that somebody cut would be
    vouched for as one that retention made.
    """
    for segment in files:
        Chain(head=before).walk(BytesIO(segment.first_line() + b"\n"), segment.name)
        before = Head.of(segment.last_line())
    return before
