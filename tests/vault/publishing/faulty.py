"""A bucket that dies at a put: before it was done, or after it."""

from __future__ import annotations

from collections.abc import Callable

from minivault.vault.publishing.bucket import Bucket


class Died(BaseException):
    """The process ended there."""


class Faulty:
    """As the bucket it stands before, until the n-th put; all that share a count die of it."""

    def __init__(self, bucket: Bucket, left: list[int], *, is_done: bool) -> None:
        self._bucket = bucket
        self._left = left
        self._is_done = is_done
        self.url = bucket.url
        self.read = bucket.read
        self.names = bucket.names

    def create(self, path: str, data: bytes) -> str:
        return self._put(lambda: self._bucket.create(path, data))

    def swap(self, path: str, data: bytes, version: str) -> str:
        return self._put(lambda: self._bucket.swap(path, data, version))

    def _put(self, put: Callable[[], str]) -> str:
        self._left[0] -= 1
        if self._left[0] == 0:
            if self._is_done:
                put()
            raise Died
        return put()
