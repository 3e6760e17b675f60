"""Copies of log files that lie beside them: never read in their place, and never another log."""

from __future__ import annotations

from pathlib import Path

from minivault.errors import ChainBroken
from minivault.vault.record import line_hash
from minivault.vault.redacted import was_of
from minivault.vault.segments import NAME, UNREADABLE, Segment, log_files, place


def require_same_copies(folder: Path) -> None:
    """Raises ChainBroken, which names both files, if two hold different records of one number.

    A copy may end earlier, be cut in its packing, and still hold what was redacted since.
    """
    files = log_files(folder)
    for copy in files.copies:
        original = [each for each in files.log if each.first <= copy.first][-1]
        if copy.name == NAME:
            reason = f"{original.name} holds records from {copy.first} on too"
            raise ChainBroken(NAME, 0, f"{reason}; move the one that is not the log elsewhere")
        _compare(copy, original)


def _compare(copy: Segment, original: Segment) -> None:
    try:
        with copy.open() as mine, original.open() as theirs:
            same = (line for line in theirs if place(line[:-1])[0] >= copy.first)
            for one, other in zip(mine, same, strict=False):
                if one.endswith(b"\n") and one != other and was_of(other) != line_hash(one[:-1]):
                    seq = place(other[:-1])[0]
                    both = f"it and {original.name} hold different records {seq}"
                    raise ChainBroken(copy.name, 0, f"{both}; move the false one elsewhere")
    except UNREADABLE:
        return
