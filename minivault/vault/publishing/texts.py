"""The texts of a log in a bucket of their own, in which they can be erased.

`<folder>/<first record>.jsonl.gz` holds lines as they stand in the log. After a crash, and where
two ship at once, two objects may hold the same record.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence, Set

from minivault.errors import ChainBroken
from minivault.vault.publishing.bucket import Bucket, Taken
from minivault.vault.publishing.tile_log import Forked, Overtaken
from minivault.vault.record import line_hash
from minivault.vault.redacted import redacted_form, was_of
from minivault.vault.segments import place

#: Of one object.
MOST_LINES, MOST_BYTES = 1_000, 4 * 2**20
_MOST_UNPACKED = 2**28  # whoever may write to the bucket may have packed anything
_NAME = re.compile(r"(\d{12})\.jsonl\.gz")


def entry_of(line: bytes) -> bytes:
    """The hash that chain and tree go on with; of a redacted line the one it had."""
    return bytes.fromhex(was_of(line) or line_hash(line))


class Texts:
    """The lines of one log. Raises Away."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder

    def put(self, lines: Sequence[bytes]) -> int:
        """Makes an object of these lines, which follow each other; returns how many are there.

        One that is there already, since somebody died before the checkpoint, may hold more or
        fewer. Raises Forked if it holds others.
        """
        path = self._path(place(lines[0])[0])
        try:
            self._bucket.create(path, _packed(lines))
        except Taken:
            there = self._read(path)[0]
            same = zip(there, lines, strict=False)
            if not there or any(entry_of(one) != entry_of(other) for one, other in same):
                raise Forked(
                    f"{self._bucket.url}/{path} is there already, and is another"
                ) from None
            return len(there)
        return len(lines)

    def erase(self, seqs: Set[int]) -> None:
        """Puts what redaction makes of them in the place of the records' lines, wherever these are.

        The log may no longer have them, so it is made of the lines themselves. Raises Overtaken.
        """
        for first in self.firsts() if seqs else ():
            if seqs.isdisjoint(range(first, first + MOST_LINES)):
                continue
            lines, version = self._read(self._path(first))
            erased = [_redacted(each) if place(each)[0] in seqs else each for each in lines]
            if erased != lines:
                try:
                    self._bucket.swap(self._path(first), _packed(erased), version)
                except Taken:
                    raise Overtaken(f"{self._bucket.url}: another one erased there too") from None

    def firsts(self) -> list[int]:
        """The records that objects begin with."""
        found = map(_NAME.fullmatch, self._bucket.names(self._folder))
        return [int(each[1]) for each in found if each]

    def lines(self) -> Iterator[tuple[str, list[bytes]]]:
        """The objects in their order, each record once. Raises ChainBroken for a damaged one."""
        after = 0
        for first in self.firsts():
            path = self._path(first)
            lines = self._read(path)[0]
            seqs = [place(each)[0] for each in lines]
            if 0 in seqs:
                raise ChainBroken(path, 0, "it has a line that is no record")
            if seqs[:1] != [first]:
                raise ChainBroken(path, 0, f"it does not begin with record {first}")
            if new := [each for each, seq in zip(lines, seqs, strict=True) if seq > after]:
                after = place(new[-1])[0]
                yield path, new

    def _read(self, path: str) -> tuple[list[bytes], str]:
        data, version = self._bucket.read(path)
        unpacking = zlib.decompressobj(wbits=31)  # gzip
        try:
            lines = unpacking.decompress(data, _MOST_UNPACKED).splitlines()
        except zlib.error as error:
            raise ChainBroken(path, 0, f"it cannot be read: {error}") from error
        if not unpacking.eof:
            raise ChainBroken(path, 0, "it cannot be read: it is cut short, or too large")
        return lines, version

    def _path(self, first: int) -> str:
        return f"{self._folder}/{first:012d}.jsonl.gz"


def _redacted(line: bytes) -> bytes:
    return line if was_of(line) else redacted_form(line, line_hash(line))


def _packed(lines: Sequence[bytes]) -> bytes:
    return gzip.compress(b"".join(each + b"\n" for each in lines), mtime=0)
