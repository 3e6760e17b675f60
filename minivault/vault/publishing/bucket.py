"""A bucket: objects by their paths, made once or exchanged in one step.

`s3://…`, `gs://…` and `az://…` are object stores; `file://…` or a path is a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from minivault.errors import FieldError, InvalidRequest, MiniVaultError
from minivault.vault.private_file import locked, make_folder

_LOCK = ".lock"
SCHEMES = ("s3", "gs", "az")
MOST_BYTES = 2**28  # of an object: whoever may write to the bucket may have put anything


class Away(MiniVaultError):
    """The bucket does not answer, or refuses; it may answer later."""

    title = "Bucket away"


class TooLarge(Away):
    """An object has more bytes than anything that is put there."""

    title = "Object too large"


class Taken(Exception):
    """There is an object already, or another one than was known."""


class Bucket(Protocol):
    """Every method raises Away. Any thread."""

    @property
    def url(self) -> str:
        """As it is told to people; no secret is in it."""

    def read(self, path: str, most: int = MOST_BYTES) -> tuple[bytes, str]:
        """An object of at most so many bytes, and which version of it that is.

        Raises FileNotFoundError, TooLarge.
        """

    def create(self, path: str, data: bytes) -> str:
        """Puts an object that must not be there yet; returns its version. Raises Taken."""

    def swap(self, path: str, data: bytes, version: str) -> str:
        """Puts an object in the place of that version of it. Raises Taken."""

    def names(self, folder: str) -> list[str]:
        """What lies right in a folder, sorted; the names of folders end with a slash."""


def open_bucket(url: str, credentials: Path | None = None) -> Bucket:
    """Opens no connection yet. `credentials` is a private file of NAME=value lines.

    Raises InvalidRequest for an address that is none, CannotStart for what is not installed and
    for a file that is not private.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        why = "an address holds no key; the environment or --ship-credentials FILE does"
        raise InvalidRequest([FieldError("url", why)])
    if parts.scheme in SCHEMES and parts.netloc:
        from minivault.vault.publishing.object_store import open_store

        return open_store(url, credentials)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return FolderBucket(Path(unquote(parts.path)))
    if not parts.scheme and url.strip():
        return FolderBucket(Path(url).expanduser())
    kinds = "s3://bucket/path, gs://…, az://…, file:///folder or a folder"
    raise InvalidRequest([FieldError("url", f"is no address of a bucket: {kinds}")])


def is_same(one: Bucket, other: Bucket) -> bool:
    """Whether they are one place, however its address is written."""
    return _place(one.url) == _place(other.url)


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file":
        path = os.path.realpath(path)
    return parts.scheme, parts.netloc, "/".join(filter(None, path.split("/")))


def require_size(size: int, most: int, where: str) -> None:
    """Raises TooLarge before anybody reads that much."""
    if size > most:
        raise TooLarge(f"{where} has {size} bytes, and {most} at most belong there")


class FolderBucket:
    """A folder in the place of a bucket. Nothing in it is locked; a file system may do that."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    @property
    def url(self) -> str:
        return self._path.as_uri()

    def read(self, path: str, most: int = MOST_BYTES) -> tuple[bytes, str]:
        with self._answering(), open(self._path / path, "rb") as file:
            require_size(os.fstat(file.fileno()).st_size, most, f"{self.url}/{path}")
            data = file.read(most)
        return data, _version(data)

    def create(self, path: str, data: bytes) -> str:
        with self._answering(), self._written(path, data) as temporary:
            try:
                os.link(temporary, self._path / path)
            except FileExistsError:
                raise Taken from None
        return _version(data)

    def swap(self, path: str, data: bytes, version: str) -> str:
        with self._answering(), self._written(path, data) as temporary, self._locked():
            if self.read(path)[1] != version:
                raise Taken
            os.replace(temporary, self._path / path)
        return _version(data)

    def names(self, folder: str) -> list[str]:
        with self._answering(), contextlib.suppress(FileNotFoundError):
            there = os.scandir(self._path / folder)
            names = [f"{each.name}/" if each.is_dir() else each.name for each in there]
            return sorted(each for each in names if not each.startswith("."))
        return []

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Away(f"{self.url}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _written(self, path: str, data: bytes) -> Iterator[str]:
        """A durable file beside the object, to be given its name; removed if it was not."""
        folder = (self._path / path).parent
        make_folder(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with locked(descriptor):
                yield
        finally:
            os.close(descriptor)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
