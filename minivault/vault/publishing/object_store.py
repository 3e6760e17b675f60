"""Buckets of object stores, by obstore (`pip install minivault[fleet]`); only here it is known."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import CannotStart
from minivault.vault.private_file import read_secret
from minivault.vault.publishing.bucket import MOST_BYTES, Away, Bucket, Taken, require_size

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: A bucket that does not answer is asked again at the next round, not for minutes in this one.
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
_CLIENT = {"timeout": "30s", "connect_timeout": "5s"}
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def open_store(url: str, credentials: Path | None) -> Bucket:
    """See `open_bucket`. Settings of the store come from the environment (AWS_…), or the file."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise CannotStart(f"{url} needs obstore: pip install 'minivault[fleet]'") from error
    given: dict[str, Any] = dict(_settings(credentials)) if credentials else {}
    if url.startswith("s3:"):  # a bucket under object lock takes no object without one
        given |= {"checksum_algorithm": "SHA256"}
    # A store inside one's own network may be named with http.
    names = ("aws_endpoint_url", "aws_endpoint", "aws_endpoint_url_s3")
    named = [given.get(each) or os.environ.get(each.upper(), "") for each in names]
    is_plain = any(str(each).startswith("http://") for each in named)
    client: dict[str, Any] = {**_CLIENT, "allow_http": is_plain}
    open_url: Any = from_url  # its types name each setting of each store
    try:
        store = open_url(url, client_options=client, retry_config=_RETRIES, **given)
    except (BaseError, ValueError) as error:
        where = f" (or {credentials})" if credentials else ""
        why = f"the settings of its store are not understood; look at AWS_…{where}"
        raise CannotStart(f"{url}: {why}: {_first_line(error)}") from None
    return ObjectBucket(url, store)


def _settings(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a private file. Raises CannotStart, which quotes none of them."""
    try:
        lines = read_secret(path, "file of credentials").decode().splitlines()
    except UnicodeDecodeError:
        raise CannotStart(f"the credentials {path} cannot be read: it is not text") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if not found:
            form = "NAME=value, as AWS_ACCESS_KEY_ID=…"
            raise CannotStart(f"the credentials {path}, line {number}: a line is {form}")
        yield found[1].lower(), found[2].strip("\"'")


class ObjectBucket:
    """A store of obstore's. Its calls block and let other threads run."""

    def __init__(self, url: str, store: ObjectStore) -> None:
        self.url = url
        self._store = store

    def read(self, path: str, most: int = MOST_BYTES) -> tuple[bytes, str]:
        import obstore

        with self._answering():
            answer = obstore.get(self._store, path)
            require_size(answer.meta["size"], most, f"{self.url}/{path}")
            return bytes(answer.bytes()), answer.meta["e_tag"] or ""

    def create(self, path: str, data: bytes) -> str:
        import obstore

        with self._answering():
            put = obstore.put(self._store, path, data, mode="create", use_multipart=False)
        return put["e_tag"] or ""

    def swap(self, path: str, data: bytes, version: str) -> str:
        import obstore

        with self._answering():
            known: Any = {"e_tag": version}
            put = obstore.put(self._store, path, data, mode=known, use_multipart=False)
        return put["e_tag"] or ""

    def names(self, folder: str) -> list[str]:
        import obstore

        with self._answering():
            found = obstore.list_with_delimiter(self._store, folder.rstrip("/") or None)
        folders = [f"{each.rstrip('/')}/" for each in found["common_prefixes"]]
        paths = [*folders, *(each["path"] for each in found["objects"])]
        return sorted(re.sub(r".*/(?=.)", "", each) for each in paths)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """What went wrong, in our words: a store's own may quote what was sent to it."""
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError:
            raise
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise Taken from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise Away(f"{self.url}: it refuses these credentials, or what was asked") from None
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise Away(f"{self.url}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Without the answer's body."""
    return re.sub(r"\s*(<\?xml|<Error|: <).*", "", str(error).split("\n", 1)[0])[:300]
