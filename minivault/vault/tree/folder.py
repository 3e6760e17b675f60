"""The files of a tree: `tree/` in the log's folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from minivault.vault.private_file import NotPrivate, require_private, sync

NAME = "tree"
CHECKPOINT = "checkpoint"
WITNESSED = "witnessed"  # the newest checkpoint that a witness signed
SHIPPED = "shipped"  # the newest checkpoint that is in the bucket
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class TreeFolder:
    """Reads and writes tiles and the checkpoint. Whoever writes holds the log's lock."""

    def __init__(self, logs: Path, *, fsync: bool = True) -> None:
        self.path = logs / NAME
        self._fsync = fsync

    def get(self, path: str) -> bytes:
        """Raises OSError."""
        with open(os.open(self.path / path, os.O_RDONLY | _SAFE), "rb") as file:
            return file.read()

    def checkpoint(self) -> bytes | None:
        """None where there is none. Raises OSError, NotPrivate for what is not ours alone."""
        try:
            if not stat.S_ISDIR(os.lstat(self.path).st_mode):
                raise NotPrivate(errno.EPERM, f"{self.path.name} is not a folder")
            descriptor = os.open(self.path / CHECKPOINT, os.O_RDONLY | _SAFE)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            require_private(descriptor, f"{self.path.name}/{CHECKPOINT}", self.path.parent)
            return file.read()

    def put(self, path: str, data: bytes) -> None:
        """Writes a tile, in place: nobody reads it before a checkpoint that needs it is there.

        Full tiles are durable, since the files of the log that they came from may be removed.
        """
        is_full = ".p/" not in path
        descriptor = self._create(path)
        try:
            _write(descriptor, data)
            if is_full and self._fsync:
                sync(descriptor)
        finally:
            os.close(descriptor)

    def publish(self, note: bytes, name: str = CHECKPOINT) -> None:
        """Replaces the checkpoint in one step."""
        temporary = f".{name}.new"
        descriptor = self._create(temporary)
        try:
            _write(descriptor, note)
            if self._fsync:
                sync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(self.path / temporary, self.path / name)

    def remove_partial(self, path: str) -> None:
        """Removes the partial tiles of one that is full by now."""
        folder = self.path / f"{path}.p"
        with contextlib.suppress(FileNotFoundError):
            for each in list(folder.iterdir()):
                each.unlink()
            folder.rmdir()

    def set_aside(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, self.path.with_name(name))

    def _create(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | _SAFE
        try:
            return os.open(self.path / path, flags, 0o600)
        except FileNotFoundError:
            for folder in reversed((self.path / path).relative_to(self.path.parent).parents[:-1]):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.path.parent / folder, 0o700)
            return os.open(self.path / path, flags, 0o600)


def _write(descriptor: int, data: bytes) -> None:
    """What was there is these bytes or the first of them: a tile is only ever written again."""
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, len(data))
