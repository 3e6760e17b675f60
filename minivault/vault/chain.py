"""The chain: each line names the hash of the one before it; here that is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from minivault.errors import ChainBroken
from minivault.vault.record import GENESIS, dump, line_hash
from minivault.vault.segments import place

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

    def finish(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The redacted records, and those whose redaction was told but not carried out.

        Raises ChainBroken if a line was redacted and no record tells of it.
        """
        for seq, (redaction, name, number) in self._redacted.items():
            if self._told.get(seq) != redaction:
                raise ChainBroken(name, number, f"record {seq} was redacted, and no record says so")
        told = [seq for seq in self._told if seq not in self._redacted and seq >= self.first]
        return tuple(sorted(self._redacted)), tuple(sorted(told))

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
