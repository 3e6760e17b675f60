"""Logins that were ended: kept in a file, so that they stay ended when a server starts anew."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from pathlib import Path

from minivault.errors import CannotStart
from minivault.vault.private_file import Folder, Lock, reason, sync, write_whole

logger = logging.getLogger(__name__)

LIFETIME = 30 * 86400  # seconds that a login holds, if the browser keeps its cookie so long
NAME = "ended-logins"

_LINE = re.compile(rb"([0-9a-f]{32}) ([0-9]{1,12})$", re.MULTILINE)  # behind half a line too
_TIDY_AT = 2**16  # bytes of the file
_MOST = 2**22


class EndedLogins:
    """The nonces of logins that were ended, as long as their cookies would hold.

    Servers on one log folder know of each other's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where the file lies; without it they are kept in memory only."""
        self._folder = folder
        self._ended: dict[str, int] = {}  # by nonce, and when they began
        self._read: tuple[int, int, int] | None = None  # inode, size, time of what was read last

    def __contains__(self, nonce: str) -> bool:
        if self._folder:
            path = self._folder / NAME
            with contextlib.suppress(OSError):
                info = path.lstat()
                state = (info.st_ino, info.st_size, info.st_mtime_ns)
                if state != self._read:  # another file than before; only lines of ours count
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                    with open(os.open(path, flags), "rb") as file:
                        file.seek(max(0, info.st_size - _MOST))
                        data = file.read(_MOST)
                    found = _LINE.findall(data)
                    self._ended |= {each.decode(): int(began) for each, began in found}
                    self._read = state
        return nonce in self._ended

    def add(self, nonce: str, began: int) -> None:
        """Blocks until it is kept. Where that fails it holds until the end, and the terminal is
        told."""
        self._ended[nonce] = began
        if not self._folder:
            return
        try:
            _keep(self._folder, f"{nonce} {began}\n".encode())
        except (OSError, CannotStart) as error:
            why = reason(error) if isinstance(error, OSError) else error
            logger.error(
                "a login was ended, but not for good: after a restart its cookie holds again, for"
                " %s cannot be written: %s",
                self._folder / NAME,
                why,
            )


def _keep(folder: Path, line: bytes) -> None:
    opened = Folder(folder)
    try:
        with Lock(opened).held():
            descriptor = opened.append(NAME)
            try:
                size = os.fstat(descriptor).st_size
                write_whole(descriptor, line, size)
                sync(descriptor)
            finally:
                os.close(descriptor)
            if size > _TIDY_AT:
                _tidy(opened)
    finally:
        opened.close()


def _tidy(folder: Folder) -> None:
    """Drops what is overdue, as soon as the oldest half is."""
    lines = list(_LINE.finditer(folder.read(NAME)))
    kept = [each for each in lines if int(each[2]) > time.time() - LIFETIME]
    if len(kept) < len(lines) / 2:
        folder.replace(NAME, b"".join(each[0] + b"\n" for each in kept))
