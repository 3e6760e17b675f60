"""Recovery: what dead processes had begun and not ended becomes records, each exactly once."""

from __future__ import annotations

import logging
from typing import Any

from minivault.vault.log import Log
from minivault.vault.orphans import orphans
from minivault.vault.private_file import Folder
from minivault.vault.record import render
from minivault.vault.segments import ASIDE

logger = logging.getLogger(__name__)


def recover(folder: Folder, log: Log) -> int:
    """Ends what is left in the journals of dead processes, and removes them (log locked).

    Returns how many records were written. Raises OSError.
    """
    recovered = 0
    for orphan in orphans(folder):
        try:
            recovered += _finish(log, list(orphan.unfinished.values()), orphan.after)
            for name in orphan.names:
                if orphan.damaged:
                    folder.rename(name, f"{ASIDE}{name}")
                else:
                    folder.remove(name)
            if orphan.damaged:
                logger.warning(
                    "%d lines of a journal are damaged: what was open then may be missing; it is"
                    " set aside as %s%s",
                    orphan.damaged,
                    ASIDE,
                    orphan.names[0],
                )
        finally:
            orphan.close()
    return recovered


def _finish(log: Log, unfinished: list[dict[str, Any]], after: int) -> int:
    """A record may be in the log already: its process died before it cleared the journal."""
    if not unfinished:
        return 0
    known = log.salts_after(after)
    bodies = [render(each) for each in unfinished if each["salt"].encode() not in known]
    if bodies:
        log.append(bodies)
    return len(bodies)
