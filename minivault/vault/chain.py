"""The chain: each line names the hash of the one before it; here that is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from minivault.errors import ChainBroken
from minivault.vault.checkpoint import Checkpoint
from minivault.vault.record import GENESIS, dump, line_hash
from minivault.vault.segments import Segment, place, segments

_BLOCK = 2**20
_HEAD = b'{"timestamp":"'
_PLAIN = b'","prompt":'  # follows the timestamp where nothing was redacted
_PLAIN_AT = len(_HEAD) + len("2026-11-23T10:23:45.123Z")

Progress = Callable[[int], None]  # how many bytes more have been read


@dataclass(frozen=True, slots=True)
class Redaction:
    """What a redaction changed: the hash of the line before and after."""

    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk along the chain has found: records `first` to `last`, and the head's hash."""

    first: int
    last: int
    head: str
    redacted: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()  # a redaction of these is recorded, and the text still there


@dataclass(slots=True)
class Chain:
    """Checks lines in their order. `seq` and `head` are the place and hash of the last good one."""

    seq: int | None = None
    head: str = GENESIS
    first: int = 0
    watched: dict[int, str | None] = field(default_factory=dict)  # seq -> its hash, once passed
    _redacted: dict[int, tuple[Redaction, str, int]] = field(default_factory=dict)
    _told: dict[int, Redaction] = field(default_factory=dict)

    def walk(self, file: BinaryIO, name: str, progress: Progress | None = None) -> None:
        """Checks the lines of one file. Raises ChainBroken at the first bad one."""
        number = 0
        for lines in _blocks(file, name, progress):
            number = self._check(lines, name, number)

    def finish(self) -> Verification:
        """Raises ChainBroken if a line was redacted and no record tells of it."""
        for seq, (redaction, name, number) in self._redacted.items():
            if self._told.get(seq) != redaction:
                raise ChainBroken(name, number, f"record {seq} was redacted, and no record says so")
        done = tuple(sorted(self._redacted))
        told = (seq for seq in sorted(self._told) if seq not in self._redacted)
        return Verification(
            self.first,
            self.seq or 0,
            self.head,
            done,
            tuple(seq for seq in told if seq >= self.first),
        )

    def _check(self, lines: list[bytes], name: str, number: int) -> int:
        """The loop that a log of a million lines goes through: nothing here but what is needed."""
        if self.seq is None and lines:
            self._start(lines[0], name)
        seq, head, watched, sha256 = self.seq or 0, self.head, self.watched, hashlib.sha256
        for line in lines:
            number += 1
            seq += 1
            if not line.endswith(b',"seq":%d,"prev":"%s"}' % (seq, head.encode())):
                following = lines[lines.index(line) + 1 :]
                raise _broken(name, number, line, seq, head, following)
            head = sha256(line).hexdigest()
            if not line.startswith(_PLAIN, _PLAIN_AT) or not line.startswith(_HEAD):
                head = self._special(line, seq, head, name, number)
            if seq in watched:
                watched[seq] = head
        self.seq, self.head = seq, head
        return number

    def _start(self, line: bytes, name: str) -> None:
        self.first, self.head = place(line)
        if self.first == 0:
            raise ChainBroken(name, 1, "this is no record")
        if self.first == 1 and self.head != GENESIS:
            raise ChainBroken(name, 1, "record 1 names a predecessor")
        self.seq = self.first - 1

    def _special(self, line: bytes, seq: int, head: str, name: str, number: int) -> str:
        """A redacted line, or the record of a redaction; returns the hash that the next names."""
        fields = _parsed(line, name, number)
        match fields:
            case {"redacted": {"was": str(was)}}:
                self._redacted[seq] = (Redaction(was, head), name, number)
                return was
            case {"redacts": int(target), "was": str(was), "now": str(now)}:
                self._told[target] = Redaction(was, now)
                return head
        raise ChainBroken(name, number, "this is no record")


def verify(
    folder: Path,
    *,
    checkpoints: Iterable[Checkpoint] = (),
    watched: Iterable[int] = (),
    progress: Progress | None = None,
) -> tuple[Verification, dict[int, str | None]]:
    """Walks along all files of a log; also returns the hashes of the `watched` records.

    Raises ChainBroken at the first bad line, and if the log is not what a checkpoint says it was.
    """
    known = list(checkpoints)
    places = [each.seq for each in known] + [each.first - 1 for each in known]
    chain = Chain(watched=dict.fromkeys([*places, *watched]))
    found = segments(folder)
    for segment in found:
        walk_segment(chain, segment, progress)
    result = chain.finish()
    if result.first > 1:
        chain.watched[result.first - 1] = place(found[0].first_line())[1]
    for checkpoint in known:
        require_checkpoint(checkpoint, result, chain.watched, folder)
    return result, chain.watched


def walk_segment(chain: Chain, segment: Segment, progress: Progress | None = None) -> None:
    try:
        with segment.open() as file:
            chain.walk(file, segment.name, progress)
    except (OSError, EOFError) as error:
        raise ChainBroken(segment.name, 1, f"it cannot be read: {error}") from error


def require_checkpoint(
    checkpoint: Checkpoint, result: Verification, hashes: dict[int, str | None], folder: Path
) -> None:
    """Raises ChainBroken if the log is shorter than it was, or other than it was."""
    end = f"{folder.name}/"
    if checkpoint.seq > result.last:
        lost = checkpoint.seq - result.last
        raise ChainBroken(
            end, 0, f"the tail is cut: {lost} records after record {result.last} are missing"
        )
    if result.first > max(1, checkpoint.first):
        gone = f"records {checkpoint.first} to {result.first - 1} are missing"
        raise ChainBroken(end, 0, f"the beginning is cut: {gone}")
    if checkpoint.seq and hashes.get(checkpoint.seq) not in (None, checkpoint.head):
        raise ChainBroken(end, 0, f"record {checkpoint.seq} is not the one of the checkpoint")
    base = hashes.get(checkpoint.first - 1)
    if checkpoint.first > 1 and base not in (None, checkpoint.base):
        raise ChainBroken(end, 0, f"record {checkpoint.first} has another beginning")


def is_canonical(line: bytes) -> bool:
    """Whether a line is written as we write them: reading and writing it gives the same bytes."""
    try:
        return dump(json.loads(line)) == line
    except ValueError:
        return False


def _blocks(file: BinaryIO, name: str, progress: Progress | None) -> Iterator[list[bytes]]:
    rest, number = b"", 0
    while block := file.read(_BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        number += len(lines)
        yield lines
        if progress:
            progress(len(block))
    if rest:
        raise ChainBroken(name, number + 1, "the last line is cut short")


def _broken(
    name: str, number: int, line: bytes, seq: int, head: str, following: list[bytes]
) -> ChainBroken:
    """Which line is the bad one, and what is wrong with it."""
    found, prev = place(line)
    if found == 0:
        return ChainBroken(name, number, "this is no record")
    if found != seq:
        there = f"record {found} stands where record {seq} should"
        return ChainBroken(name, number, there)
    if prev == head:
        return ChainBroken(name, number, f"record {seq} has something after its end")
    if number > 1 and following and place(following[0])[1] == line_hash(line):
        return ChainBroken(name, number - 1, f"record {seq - 1} was changed")
    reason = f"record {seq} does not follow record {seq - 1}: one of them was changed"
    return ChainBroken(name, number, reason)


def _parsed(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ChainBroken(name, number, "this is no record")
    return fields
