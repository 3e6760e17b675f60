"""The files of a log, oldest first: rotated segments, compressed or not, then `log.jsonl`."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from minivault.errors import ChainBroken

NAME = "log.jsonl"
TORN = ".torn-"
ASIDE = "set-aside-"  # how the names of files begin that hold what was damaged
SEQ = re.compile(rb',"seq":(\d{1,18}),"prev":"([0-9a-f]{64})"\}$')
_PROOF = re.compile(rb',"prev_redacted":"([0-9a-f]{64})","seq":\d{1,18},"prev":"[0-9a-f]{64}"\}$')

_TRIES = 5

#: What cannot be read raises one of these.
UNREADABLE = (OSError, EOFError, zlib.error)

# Copies that people, editors and synchronizers make have other names: log.jsonl~, log (1).jsonl,
# log.sync-conflict-20261123.jsonl. They are never read in the log's place.
_OURS = re.compile(r"log-(\d{12})\.jsonl(\.gz)?")
_LOGROTATE = re.compile(
    r"log\.jsonl\.\d{1,5}(\.gz)?|log\.\d{1,5}\.jsonl(\.gz)?"
    r"|log\.jsonl-\d{8,10}(-\d{1,10})?(\.gz)?|log-\d{8,10}(-\d{1,10})?\.jsonl(\.gz)?"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log. `first` is the sequence number of its first line, 0 if it is empty.

    With an `inode` it is that file alone: another one that has its name by now is not read.
    """

    path: Path
    first: int
    inode: int | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix == ".gz"

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked. Raises OSError; reading also EOFError and zlib.error."""
        if self.is_compressed:
            return cast(BinaryIO, gzip.open(self.path, "rb"))
        return open(self.path, "rb", buffering=2**16)

    @contextlib.contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """As `open`, but what cannot be read raises ChainBroken, which names the file.

        Raises FileNotFoundError for a file that is gone, or no longer this one.
        """
        try:
            with self.open() as file:
                if self.inode not in (None, os.fstat(file.fileno()).st_ino):
                    why = "it was rotated or replaced"
                    raise FileNotFoundError(errno.ENOENT, why, str(self.path))
                yield file
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise ChainBroken(self.name, 0, f"it cannot be read: {error}") from error

    @property
    def size(self) -> int:
        """How many bytes there are to read, 0 if it is gone; gzip notes it at its end."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not self.is_compressed or size < 4:
                return size
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
        return 0

    def first_line(self) -> bytes:
        with self.reading() as file:
            return file.readline().rstrip(b"\n")

    def last_line(self) -> bytes:
        """The last whole line, without its newline."""
        return next(self.lines_backwards(), b"")

    def lines(self) -> Iterator[bytes]:
        """The whole lines, first first. Raises ChainBroken for a file that cannot be read."""
        with self.reading() as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def lines_backwards(self) -> Iterator[bytes]:
        """The lines, last first; a compressed file is read as a whole for it."""
        if self.is_compressed:
            yield from reversed(list(self.lines()))
            return
        with self.reading() as file:
            size = os.fstat(file.fileno()).st_size
            end = end_of_lines(file.fileno(), size)
            for _, line in lines_backwards(file.fileno(), end):
                yield line


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in a log folder under the names of log files.

    `copies` hold records that one of the `log` files holds already; of the `damaged` ones nothing
    can be read at all.
    """

    log: list[Segment]
    copies: list[Segment]
    damaged: list[Segment]


def segments(folder: Path) -> list[Segment]:
    """The files of the log in this folder, in the order of the chain. Raises OSError."""
    return log_files(folder).log


def log_files(folder: Path) -> Files:
    """Every file of the folder that has the name of a log file. Raises OSError.

    Looks again where files got other names meanwhile: one under neither would be missing.
    """
    for _ in range(_TRIES):
        before = os.stat(folder).st_mtime_ns
        with contextlib.suppress(FileNotFoundError):
            found = _listed(folder)
            if os.stat(folder).st_mtime_ns == before:
                return found
    return _listed(folder)


def _listed(folder: Path) -> Files:
    shapes = _OURS, _LOGROTATE
    named = [
        path
        for path in folder.iterdir()
        if path.name == NAME or any(each.fullmatch(path.name) for each in shapes)
    ]
    found = [_segment(path) for path in named if path.is_file()]  # a pipe would never end
    files = Files([], [], [each for each in found if each.first < 0])
    last = 0
    for each in sorted((each for each in found if each.first > 0), key=_rank):
        if each.first <= last:
            files.copies.append(each)
            continue
        files.log.append(each)
        last = each.first if each.is_compressed else place(each.last_line())[0] or each.first
    files.log.sort(key=lambda each: each.name == NAME)
    return files


def _rank(segment: Segment) -> tuple[int, bool, bool, bool, int, str]:
    """Of two files with the same records the likelier one first, and the longer one."""
    name = segment.name
    size = segment.path.stat().st_size if segment.path.exists() else 0
    return (
        segment.first,
        name != NAME,
        _OURS.fullmatch(name) is None,
        segment.is_compressed,
        -size,
        name,
    )


def _segment(path: Path) -> Segment:
    """`first` is -1 where it cannot be known. Raises FileNotFoundError."""
    inode = path.stat().st_ino
    try:
        return Segment(path, first_seq(path), inode)
    except FileNotFoundError:
        raise
    except UNREADABLE:
        ours = _OURS.fullmatch(path.name)
        return Segment(path, int(ours[1]) if ours else -1, inode)


def first_seq(path: Path) -> int:
    """The sequence number of a file's first line, 0 if there is none.

    Told by a later line where the first ones are damaged.
    """
    with Segment(path, 0).open() as file:
        for number, line in enumerate(islice(file, 100)):
            if seq := place(line.rstrip(b"\n"))[0]:
                return max(1, seq - number)
    return 0


def place(line: bytes) -> tuple[int, str]:
    """A line's sequence number and the predecessor's hash that it names; else (0, "")."""
    found = SEQ.search(line, max(0, len(line) - 120))
    return (int(found[1]), found[2].decode()) if found else (0, "")


def tail(line: bytes) -> tuple[int, str, str | None]:
    """As `place`, and the hash of the predecessor's redacted form, if the line names it."""
    seq, prev = place(line)
    found = _PROOF.search(line, max(0, len(line) - 220)) if seq else None
    return seq, prev, found[1].decode() if found else None


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
