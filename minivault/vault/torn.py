"""The torn tail: what a write that was cut off left at the end of the log, nobody was told of."""

from __future__ import annotations

import contextlib
import os
import time

from minivault.vault.private_file import Folder, sync
from minivault.vault.segments import NAME, TORN, end_of_lines, lines_backwards, place


def cut_torn_tail(folder: Folder, descriptor: int, checkpointed: int) -> None:
    """Removes half a line or a hole, if it came after record `checkpointed` (lock held)."""
    size = os.fstat(descriptor).st_size
    whole = end_of_lines(descriptor, size)
    good = _before_holes(descriptor, whole, checkpointed)
    if good < size:
        cut(folder, descriptor, good)


def cut(folder: Folder, descriptor: int, good: int) -> None:
    """Sets the bytes after `good` aside, and removes them from the log."""
    size = os.fstat(descriptor).st_size
    with contextlib.suppress(OSError):  # a full disk must not keep us from going on
        aside = folder.create(f"{NAME}{TORN}{time.time_ns()}")
        with open(aside, "wb") as file:
            file.write(os.pread(descriptor, size - good, good))
    os.ftruncate(descriptor, good)
    sync(descriptor)


def _before_holes(descriptor: int, end: int, checkpointed: int) -> int:
    """Where the first line with a hole begins.

    We never write a zero byte: where there is one the disk had no data when the power went.
    """
    good = end
    for start, line in lines_backwards(descriptor, end):
        seq = place(line)[0]
        if seq and b"\0" not in line and seq <= checkpointed:
            return good if seq == checkpointed else end
        if b"\0" in line:
            good = start
    return good if checkpointed == 0 else end
