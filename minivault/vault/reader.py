"""Reading the log: by place, by generation, newest first; needs no server and no index.

Sequence numbers rise with the offset in a file, so a record is found by halving the file, and a
page of the newest by reading from the end: a log of a million lines answers at once.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import ChainBroken, NotFound
from minivault.vault.record import Record
from minivault.vault.segments import (
    Segment,
    end_of_lines,
    lines_backwards,
    log_files,
    place,
    segments,
)

_TRIES = 5
_WINDOW = 2**26  # bytes searched at once: other threads run in between


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first. `before` continues: None where nothing older is left.

    `broken`: why it ends there, if it is at something damaged.
    """

    records: list[Record]
    before: int | None
    broken: ChainBroken | None = None


class Reader:
    """The log in a folder, as it is at the moment of each call. Any thread; writes nothing.

    What cannot be read raises ChainBroken; with `skipped` that is told instead, once for each
    file, and the lines of the others still come.
    """

    def __init__(
        self, folder: Path, skipped: Callable[[ChainBroken], object] | None = None
    ) -> None:
        self.folder = folder
        self._skipped = skipped
        self.unreadable: set[str] = set()  # the files that were skipped

    def skipping(self) -> Reader:
        """One that tells in `unreadable` what it had to leave out."""
        reader = Reader(self.folder, lambda error: None)
        with contextlib.suppress(FileNotFoundError):
            reader.unreadable |= {each.name for each in log_files(self.folder).damaged}
        return reader

    def segments(self) -> list[Segment]:
        """The log's files, oldest first; none where there is no log."""
        try:
            return segments(self.folder)
        except FileNotFoundError:
            return []

    def last_seq(self) -> int:
        """The newest record's sequence number, 0 if there is none."""
        return next(filter(None, (place(line)[0] for line in self.lines_backwards())), 0)

    def get(self, seq: int) -> Record:
        """The record at one place. Raises NotFound."""
        for files in self._settling():
            older = [segment for segment in files if segment.first <= seq]
            with contextlib.suppress(FileNotFoundError):
                line = next(_lines_from(older[-1], seq), b"") if older else b""
                if line and place(line)[0] == seq:
                    return Record.parse(line)
        raise NotFound(f"there is no record {seq}")

    def backwards(self, before: int | None = None) -> Iterator[Record]:
        """The records older than record `before`, newest first."""
        for line in self.lines_backwards(before):
            yield Record.parse(line)

    def lines_backwards(self, before: int | None = None) -> Iterator[bytes]:
        """The lines of the records older than record `before`, newest first."""
        for _ in self._settling():
            try:
                for segment in reversed(self.segments()):
                    for line in self._readable(_lines_before(segment, before)):
                        yield line
                        before = place(line)[0] or before
                return
            except FileNotFoundError:  # it was rotated, and has another name now
                continue

    def forwards(self, after: int = 0) -> Iterator[bytes]:
        """The lines of the records newer than record `after`, oldest first."""
        for _ in self._settling():
            try:
                found = self.segments()
                for segment, following in zip(found, [*found[1:], None], strict=False):
                    if following is None or following.first > after + 1:
                        for line in self._readable(_lines_from(segment, after + 1)):
                            yield line
                            after = place(line)[0] or after
                return
            except FileNotFoundError:
                continue

    def following(self, seq: int) -> list[bytes]:
        """The lines right after record `seq`; after a rotation in between the rest comes later."""
        found: list[bytes] = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.forwards(seq):
                if place(line)[0] != seq + len(found) + 1:
                    break
                found.append(line)
        return found

    def find(self, id: str) -> list[Record]:
        """The records of one generation, newest first; compressed files are not searched."""
        needle = b'"id":"%s"' % id.encode("ascii", "replace")
        found: list[Record] = []
        for files in self._settling():
            with contextlib.suppress(FileNotFoundError):
                found = [each for segment in reversed(files) for each in _search(segment, needle)]
        return [record for record in found if record.id == id]

    def record(self, line: bytes) -> Record | None:
        """The record that a line is; None for what is no record and is skipped."""
        try:
            return Record.parse(line)
        except ChainBroken as error:
            self._skip(error)
        return None

    def _readable(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines of one file, as far as it can be read."""
        try:
            yield from lines
        except ChainBroken as error:
            self._skip(error)

    def _skip(self, error: ChainBroken) -> None:
        """Raises it unless somebody wants to be told instead."""
        if self._skipped is None:
            raise error
        if error.file not in self.unreadable:
            self.unreadable.add(error.file)
            self._skipped(error)

    def _settling(self) -> Iterator[list[Segment]]:
        """The log's files, and again if they were rotated while somebody looked through them."""
        before: list[Segment] = []
        for _ in range(_TRIES):
            files = self.segments()
            if files == before:
                return
            before = files
            yield files


def _search(segment: Segment, needle: bytes) -> Iterator[Record]:
    """The records whose lines hold `needle`, last first; none of a compressed file."""
    if segment.is_compressed:
        return
    with (
        segment.reading() as file,
        contextlib.suppress(ValueError),
    ):  # an empty file cannot be mapped
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with mapped:
            end = mapped.rfind(b"\n") + 1
            while end > 0:
                start = max(0, end - _WINDOW)
                at = mapped.rfind(needle, start, end)
                if at < 0:
                    end = start + len(needle) - 1 if start else 0
                    continue
                first = mapped.rfind(b"\n", 0, at) + 1
                yield Record.parse(mapped[first : mapped.find(b"\n", at)])
                end = first


def _lines_from(segment: Segment, seq: int) -> Iterator[bytes]:
    """The whole lines from record `seq` on."""
    with segment.reading() as file:
        if not segment.is_compressed:
            file.seek(_offset(file.fileno(), seq))
        for line in file:
            if line.endswith(b"\n") and place(line[:-1])[0] >= seq:
                yield line[:-1]


def _lines_before(segment: Segment, seq: int | None) -> Iterator[bytes]:
    """The lines before record `seq`, last first."""
    if seq is None:
        yield from segment.lines_backwards()
    elif segment.first >= seq:
        return
    elif segment.is_compressed:
        yield from (line for line in segment.lines_backwards() if place(line)[0] < seq)
    else:
        with segment.reading() as file:
            for _, line in lines_backwards(file.fileno(), _offset(file.fileno(), seq)):
                yield line


def _offset(descriptor: int, seq: int) -> int:
    """Where record `seq` or, if it is not there, the next one begins: found by halving."""
    low, high = 0, end_of_lines(descriptor, os.fstat(descriptor).st_size)
    while low < high:
        # The line that has the byte in the middle.
        start, line = end_of_lines(descriptor, (low + high) // 2), b""
        while b"\n" not in line:
            line += os.pread(descriptor, 2**14, start + len(line))
        length = line.index(b"\n")
        if place(line[:length])[0] < seq:
            low = start + length + 1
        else:
            high = start
    return low
