"""The vault's secret: 32 random bytes in a file of their own, made once and never shown."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from minivault.errors import CannotStart
from minivault.vault.private_file import reason, require_private

SIZE = 32
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def load_secret(path: Path) -> bytes:
    """Reads the secret, and makes it if there is none. Raises CannotStart.

    A file that others can read is refused rather than mended: they may have read it already.
    """
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise CannotStart(f"the secret {path} cannot be used: {reason(error)}") from error


def derive(secret: bytes, label: str) -> bytes:
    """A key of its own for each use, so that none tells anything about another (HMAC-SHA-256)."""
    return hmac.digest(secret, label.encode(), "sha256")


def _make(path: Path) -> None:
    """Under another name first: whoever reads at the same moment finds all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    with open(descriptor, "wb") as file:
        file.write(secrets.token_bytes(SIZE))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        os.unlink(temporary)


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | _FLAGS), "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise CannotStart(f"the secret {path} can be read by others; make a new one, mode 0600")
        require_private(file.fileno(), path.name)
        secret = file.read()
    if len(secret) < SIZE:
        raise CannotStart(f"the secret {path} is too short: it needs {SIZE} random bytes")
    return secret
