"""Files that belong to one user alone: how the vault opens, writes and syncs them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from minivault.errors import CannotStart

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LOCK_WAIT = 10.0  # seconds


class NotPrivate(OSError):
    """A link, another user's file or no plain file stands where a private file should be."""


class SyncFailed(OSError):
    """fsync failed: what the kernel still holds may be gone, and a second try may lie."""


class Folder:
    """An open folder with private files (mode 0600); names are relative to it.

    It is 0700 if it is made here. What was there before keeps its mode and owner.
    """

    def __init__(self, path: Path) -> None:
        """Opens the folder, and makes it if needed. Raises CannotStart, which says why."""
        self.path = path.absolute()
        try:
            make_folder(self.path)
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Whoever may write to the folder can put another file in the place of any of ours.
                info = os.fstat(self.fd)
                if info.st_uid != os.geteuid():
                    own = quote(str(self.path / "minivault"))
                    why = f"it belongs to another user; take --logs-dir {own}"
                    raise NotPrivate(errno.EPERM, why)
                if info.st_mode & (0o002 if _is_alone_in(info.st_gid) else 0o022):
                    mend = f"chmod go-w {quote(str(self.path))}"
                    raise NotPrivate(errno.EPERM, f"others may write to it; {mend}")
            except OSError:
                os.close(self.fd)
                raise
        except OSError as error:
            raise CannotStart(
                f"the log folder {self.path} cannot be used: {reason(error)}"
            ) from error

    def close(self) -> None:
        os.close(self.fd)

    def sync(self) -> None:
        """Makes names durable: what was created, renamed or removed."""
        os.fsync(self.fd)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.fd))

    def stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Opens a file that is there. Raises NotPrivate for links, foreign owners and such."""
        descriptor = os.open(name, flags | _SAFE, dir_fd=self.fd)
        try:
            require_private(descriptor, name, self.path)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def create(self, name: str) -> int:
        """Makes a file that must not be there yet, for appending; its name is durable."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        descriptor = os.open(name, flags | _SAFE, 0o600, dir_fd=self.fd)
        try:
            self.sync()
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def append(self, name: str) -> int:
        """Opens a file for appending, and makes it if needed."""
        try:
            return self.create(name)
        except FileExistsError:
            return self.open(name, os.O_RDWR | os.O_APPEND)

    def read(self, name: str) -> bytes:
        with open(self.open(name), "rb") as file:
            return file.read()

    def replace(self, name: str, data: bytes) -> None:
        """Puts `data` under `name` in one step: a reader sees the old or the new, never half."""
        temporary = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self.fd)
        with open(self.create(temporary), "wb") as file:
            file.write(data)
            file.flush()
            sync(file.fileno())
        self.rename(temporary, name)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self.sync()

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)


def require_usable(path: Path) -> None:
    """Makes a folder if needed. Raises CannotStart where nothing private can be kept in it."""
    Folder(path).close()


def _is_alone_in(gid: int) -> bool:
    """Whether this is the user's own group, as many systems make one with umask 002."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return (
        gid == user.pw_gid
        and set(group.gr_mem) <= {user.pw_name}
        and (group.gr_name == user.pw_name)
    )


class Lock:
    """The lock that all processes on one log take in turn (flock: the kernel frees it on death).

    It is on the folder itself: a file could be removed between two of them.
    """

    def __init__(self, folder: Folder) -> None:
        self._fd = folder.fd

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Raises TimeoutError rather than wait for ever for a process that was stopped."""
        return locked(self._fd)


@contextlib.contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """One process at a time. Raises TimeoutError."""
    deadline = time.monotonic() + _LOCK_WAIT
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the log's lock")
        time.sleep(0.001)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def try_lock(descriptor: int) -> bool:
    """Locks an open file unless another process has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_private(descriptor: int, name: str, folder: Path | None = None) -> None:
    """Raises NotPrivate unless this is a plain file of ours with one name, closed to others."""
    info = os.fstat(descriptor)
    path = folder / name if folder else name
    if not stat.S_ISREG(info.st_mode):
        raise NotPrivate(errno.EPERM, f"{name} is not a plain file")
    if info.st_nlink > 1:
        named, other = quote(str(path)), quote(f"{path}.own")
        hint = f"make it one file again: cp -p {named} {other} && mv {other} {named}"
        raise NotPrivate(errno.EPERM, f"{name} has a second name (a hard link); {hint}")
    if info.st_uid != os.geteuid():
        raise NotPrivate(errno.EPERM, f"{name} belongs to another user")
    if info.st_mode & 0o077:
        raise NotPrivate(errno.EPERM, f"{name} is open to others; chmod 600 {quote(str(path))}")


def read_secret(path: Path, what: str) -> bytes:
    """A file of somebody's keys. Raises CannotStart for one that others may read or change.

    It may be another user's who gives it to a group of ours alone, as Kubernetes does.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise CannotStart(f"the {what} {path} is not a plain file")
            if info.st_mode & (0o077 if info.st_uid == os.geteuid() else 0o026):
                mend = f"if nobody else had it: chmod 600 {quote(str(path))}"
                raise CannotStart(f"the {what} {path} is not private; {mend}")
            return file.read()
    except OSError as error:
        raise CannotStart(f"the {what} {path} cannot be read: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Makes a private folder and those above it, so that they outlast a power cut. Any of them may
    be there already. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    os.makedirs(path, mode=0o700, exist_ok=True)
    for each in missing:
        descriptor = os.open(each.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(descriptor: int, data: bytes, size: int) -> None:
    """Appends with one write(2), all or nothing: a short write is cut off again.

    `size` is the file's size before. Raises OSError.
    """
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            os.write(descriptor, data[written:])  # it says why, if it can: a quota, a limit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        # If this fails as well, whoever takes the lock next finds the torn tail and cuts it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def sync(descriptor: int) -> None:
    """Makes a file's data durable. Raises SyncFailed, after which nothing of it can be trusted."""
    try:
        if sys.platform == "darwin":  # where fsync alone stops at the drive's cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def reason(error: OSError) -> str:
    """What went wrong, in the words of the system."""
    if error.errno == errno.ELOOP:
        return f"{error.filename} is a symbolic link"
    return error.strerror or str(error)
