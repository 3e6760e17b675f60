"""The vault's secret: 32 random bytes in a file of their own, made once and never shown."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from shlex import quote

from minivault.errors import CannotStart
from minivault.vault.private_file import locked, make_folder, reason, require_private

SIZE = 32
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def load_secret(path: Path) -> bytes:
    """Reads the secret, and makes it if there is none. Raises CannotStart.

    A file that others can read is refused rather than mended: they may have read it already.
    """
    path = path.absolute()
    try:
        if not path.is_symlink() and not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise CannotStart(f"the secret {path} cannot be used: {reason(error)}") from error


def derive(secret: bytes, label: str) -> bytes:
    """A key of its own for each use, so that none tells anything about another (HMAC-SHA-256)."""
    return hmac.digest(secret, label.encode(), "sha256")


def _make(path: Path) -> None:
    """Under another name first: whoever reads at the same moment finds all of it or nothing."""
    make_folder(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locked(folder):
            if not path.exists():  # else another process was first
                temporary = path.with_name(f".{path.name}.new")
                temporary.unlink(missing_ok=True)  # left by one that was killed
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
                with open(os.open(temporary, flags, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(SIZE))
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, path)
                os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | _FLAGS), "rb") as file:
        info = os.fstat(file.fileno())
        if info.st_mode & 0o077:
            raise CannotStart(
                f"the secret {path} can be read by others; if none did: "
                f"chmod 600 {quote(str(path))}, else remove it, and a new one is made"
            )
        if info.st_nlink > 1:
            # Version 0.1.0 made it under another name, and was killed before that one was gone.
            for other in path.parent.glob(f".{path.name}.*"):
                if other.lstat().st_ino == info.st_ino:
                    other.unlink()
        require_private(file.fileno(), path.name, path.parent)
        secret = file.read()
    if len(secret) < SIZE:
        raise CannotStart(f"the secret {path} is too short: it needs {SIZE} random bytes")
    return secret
