"""The files of a log, oldest first: rotated segments, compressed or not, then `log.jsonl`."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

NAME = "log.jsonl"
TORN = ".torn-"
SEQ = re.compile(rb',"seq":(\d{1,18}),"prev":"([0-9a-f]{64})"\}$')


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log. `first` is the sequence number of its first line, 0 if it is empty."""

    path: Path
    first: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix == ".gz"

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked. Raises OSError."""
        if self.is_compressed:
            return cast(BinaryIO, gzip.open(self.path, "rb"))
        return open(self.path, "rb", buffering=2**20)

    @property
    def size(self) -> int:
        """How many bytes there are to read; gzip notes it at the end, modulo 4 GiB (RFC 1952)."""
        if not self.is_compressed:
            return self.path.stat().st_size
        with open(self.path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")

    def first_line(self) -> bytes:
        with self.open() as file:
            return file.readline().rstrip(b"\n")

    def last_line(self) -> bytes:
        """The last whole line, without its newline."""
        return next(self.lines_backwards(), b"")

    def lines_backwards(self) -> Iterator[bytes]:
        """The lines, last first; a compressed file is read as a whole for it."""
        if self.is_compressed:
            with self.open() as file:
                yield from reversed(file.read().split(b"\n")[:-1])
            return
        with self.open() as file:
            size = os.fstat(file.fileno()).st_size
            end = end_of_lines(file.fileno(), size)
            for _, line in lines_backwards(file.fileno(), end):
                yield line


def segments(folder: Path) -> list[Segment]:
    """The files of the log in this folder, in the order of the chain. Raises OSError.

    A file belongs to it if its name begins as ours or as logrotate's do, and it holds records.
    """
    found = [Segment(path, first_seq(path)) for path in folder.iterdir() if _is_segment(path.name)]
    found.sort(key=lambda each: (each.first, each.is_compressed))
    while_compressed = {each.first: each for each in reversed(found) if each.first}
    ordered = [while_compressed[first] for first in sorted(while_compressed)]
    return sorted(ordered, key=lambda each: each.name == NAME)


def first_seq(path: Path) -> int:
    """The sequence number of a file's first line, 0 if there is none."""
    try:
        with Segment(path, 0).open() as file:
            line = file.readline().rstrip(b"\n")
    except (OSError, EOFError):
        return 0
    return place(line)[0]


def place(line: bytes) -> tuple[int, str]:
    """A line's sequence number and the predecessor's hash that it names; else (0, "")."""
    found = SEQ.search(line, max(0, len(line) - 120))
    return (int(found[1]), found[2].decode()) if found else (0, "")


def lines_after(folder: Path, seq: int) -> Iterator[bytes]:
    """The lines of all records after record `seq`, newest first."""
    for segment in reversed(segments(folder)):
        for line in segment.lines_backwards():
            if place(line)[0] <= seq:
                return
            yield line


def end_of_lines(descriptor: int, size: int) -> int:
    """Where the last newline before byte `size` ends."""
    position = size
    while position > 0:
        step = min(2**16, position)
        position -= step
        found = os.pread(descriptor, step, position).rfind(b"\n")
        if found >= 0:
            return position + found + 1
    return 0


def lines_backwards(descriptor: int, end: int, block: int = 2**16) -> Iterator[tuple[int, bytes]]:
    """The lines before byte `end` (just after a newline), last first, each with its offset."""
    rest = b""
    position = end
    while position > 0:
        step = min(block, position)
        position -= step
        data = os.pread(descriptor, step, position) + rest
        first = data.find(b"\n") + 1 if position else 0
        stop = len(data)
        while stop > first:
            start = data.rfind(b"\n", 0, stop - 1) + 1
            yield position + start, data[start : stop - 1]
            stop = start
        rest = data[:stop]
        block = block * 2 if len(rest) > block else block


def _is_segment(name: str) -> bool:
    return name.startswith("log") and ".jsonl" in name and TORN not in name
