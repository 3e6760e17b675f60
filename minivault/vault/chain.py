"""The chain: each line names the hash of the one before it; here that is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from minivault.errors import ChainBroken
from minivault.vault.record import GENESIS, dump, line_hash
from minivault.vault.redacted import REMOVED, Redaction, quick_form, redacted_hash, was_of
from minivault.vault.segments import Segment, place, tail

_BLOCK = 2**20
_HEAD = b'{"timestamp":"'
_PLAIN = b'","prompt":'  # follows the timestamp where nothing was redacted
_PLAIN_AT = len(_HEAD) + len("2026-11-23T10:23:45.123Z")

Progress = Callable[[int], None]  # how many bytes more have been read


@dataclass(frozen=True, slots=True)
class Head:
    """A record as the next one names it: its place, its hash, that of its redacted form.

    `redacted` is None where it is not known; `proves` says whether the line named that of its own
    predecessor, as all lines do since version 0.2.0.
    """

    seq: int = 0
    hash: str = GENESIS
    redacted: str | None = GENESIS
    proves: bool = False

    @classmethod
    def of(cls, line: bytes) -> Head:
        """Raises ChainBroken for what is no record."""
        seq, _, proof = tail(line)
        if seq == 0:
            raise ChainBroken("the log", 0, "the last line is no record")
        digest = line_hash(line)
        return cls(seq, was_of(line) or digest, redacted_hash(line, digest), proof is not None)


@dataclass(frozen=True, slots=True)
class Told:
    """A redaction as the record at `seq` tells of it."""

    redaction: Redaction
    target: int
    seq: int
    signature: str | None


@dataclass(frozen=True, slots=True)
class Redactions:
    """The records that were redacted.

    `unfinished`: a record tells of it, and the text is still there. `unproven`: version 0.1.0 wrote
    the line after them, so their other fields are vouched for from the redaction on only.
    """

    done: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()
    unproven: tuple[int, ...] = ()


#: Says what is wrong with a redaction that is told, None if nothing is.
Judge = Callable[[Told], str | None]


@dataclass(slots=True)
class Chain:
    """Checks lines in their order; `head` is the last good one, None before the first."""

    head: Head | None = None
    first: int = 0
    watched: dict[int, Head | None] = field(default_factory=dict)  # seq -> its head, once passed
    judge: Judge | None = None
    told: dict[int, Told] = field(default_factory=dict)
    base: str = GENESIS  # what the first line names as its predecessor
    on_hashes: Callable[[int, list[str]], object] | None = None  # told of lines: first seq, hashes
    _redacted: dict[int, tuple[Redaction, str, int]] = field(default_factory=dict)
    _unproven: set[int] = field(default_factory=set)

    @property
    def seq(self) -> int:
        return self.head.seq if self.head else 0

    def walk(self, file: BinaryIO, name: str, progress: Progress | None = None) -> None:
        """Checks the lines of one file. Raises ChainBroken at the first bad one."""
        rest, number = b"", 0
        while block := file.read(_BLOCK):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            number = self._check(lines, name, number)
            if progress:
                progress(len(block))
        if rest:
            raise ChainBroken(name, number + 1, "the last line is cut short")

    def walk_segment(self, segment: Segment, progress: Progress | None = None) -> None:
        """As `walk`; a file that cannot be read is a broken chain. Raises FileNotFoundError."""
        with segment.reading() as file:
            self.walk(file, segment.name, progress)

    @property
    def redacted(self) -> list[int]:
        """The records whose lines were redacted."""
        return sorted(self._redacted)

    def untold(self) -> list[int]:
        """The records whose lines were redacted although no record tells of it."""
        told = {seq: each.redaction for seq, each in self.told.items()}
        return [seq for seq, (what, _, _) in self._redacted.items() if told.get(seq) != what]

    def finish(self) -> Redactions:
        """Raises ChainBroken if a line was redacted and no record tells of it."""
        for seq in self.untold():
            _, name, number = self._redacted[seq]
            raise ChainBroken(name, number, untold(seq))
        open_ones = [seq for seq in self.told if seq not in self._redacted and seq >= self.first]
        return Redactions(
            tuple(self.redacted), tuple(sorted(open_ones)), tuple(sorted(self._unproven))
        )

    def _check(self, lines: list[bytes], name: str, number: int) -> int:
        """The loop that a log of a million lines goes through: nothing here but what is needed."""
        if not lines:
            return number
        head = self.head or self._start(lines[0], name)
        seq, digest, form, proves = head.seq, head.hash, head.redacted, head.proves
        watched, sha256, last = self.watched, hashlib.sha256, b""
        hashes: list[str] = []
        for line in lines:
            number += 1
            seq += 1
            link = b',"prev_redacted":"%s","seq":%d,"prev":"%s"}'
            if not line.endswith(link % ((form or "").encode(), seq, digest.encode())):
                before = Head(seq - 1, digest, form or (_form(last) if last else None), proves)
                proves = self._odd_link(line, before, name, number, lines)
            else:
                proves = True
            own = digest = sha256(line).hexdigest()
            if not line.startswith(_PLAIN, _PLAIN_AT) or not line.startswith(_HEAD):
                digest = self._special(line, seq, own, name, number)
            hashes.append(digest)
            bare, last = quick_form(line, own), line
            form = own if bare is line else sha256(bare).hexdigest() if bare else None
            if seq in watched:
                watched[seq] = Head(seq, digest, form or _form(line), proves)
        self.head = Head(seq, digest, form or _form(last), proves)
        if self.on_hashes:
            self.on_hashes(seq + 1 - len(hashes), hashes)
        return number

    def _start(self, line: bytes, name: str) -> Head:
        self.first, self.base, proof = tail(line)
        if self.first == 0:
            raise ChainBroken(name, 1, "this is no record")
        if self.first == 1 and (self.base != GENESIS or proof not in (None, GENESIS)):
            raise ChainBroken(name, 1, "record 1 names a predecessor")
        return Head(self.first - 1, self.base, proof, proof is not None)

    def _odd_link(
        self, line: bytes, before: Head, name: str, number: int, lines: list[bytes]
    ) -> bool:
        """A line of version 0.1.0, which names no `prev_redacted`; or a bad one."""
        seq, prev, proof = tail(line)
        fits = (seq, prev) == (before.seq + 1, before.hash)
        if fits and proof is None and not before.proves:
            if before.seq in self._redacted:
                self._unproven.add(before.seq)
            return False
        if fits and before.redacted is None and proof is not None:
            return True
        if fits and proof is None:
            reason = f"record {seq} does not name the redacted form of record {before.seq}"
            raise ChainBroken(name, number, reason)
        if fits and proof != before.redacted and before.seq in self._redacted:
            _, where, line_number = self._redacted[before.seq]
            reason = f"record {before.seq} is not what redaction makes of it: it was changed"
            raise ChainBroken(where, line_number, reason)
        if fits and proof != before.redacted:
            reason = f"record {seq} names another redacted form of record {before.seq}"
            raise ChainBroken(name, number, reason)
        raise _broken(name, number, line, before, lines)

    def _special(self, line: bytes, seq: int, own: str, name: str, number: int) -> str:
        """A redacted line, or one that tells of something; returns the hash the next one names."""
        fields = _parsed(line, name, number)
        match fields:
            case {"redacted": {"was": str(was)}} if was == was_of(line):
                if not fields.keys().isdisjoint(REMOVED):
                    reason = f"record {seq} is called redacted, and holds a text"
                    raise ChainBroken(name, number, reason)
                self._redacted[seq] = (Redaction(was, own), name, number)
                return was
            case {"repairs": dict()}:
                return own
        if told := _told(fields):
            if wrong := self.judge(told) if self.judge else None:
                raise ChainBroken(name, number, f"record {seq}: {wrong}")
            self.told[told.target] = told
            return own
        raise ChainBroken(name, number, "this is no record")


def told_by(line: bytes) -> Told | None:
    """The redaction that a line tells of, if it does."""
    try:
        return _told(_parsed(line, "", 0)) if b'"redacts":' in line[: _PLAIN_AT + 20] else None
    except ChainBroken:
        return None


def _told(fields: dict[str, Any]) -> Told | None:
    match fields:
        case {"redacts": int(target), "was": str(was), "now": str(now), "seq": int(seq)}:
            return Told(Redaction(was, now), target, seq, fields.get("signature"))
    return None


def untold(seq: int) -> str:
    """What is wrong with a line that was redacted although no record tells of it."""
    return f"record {seq} was redacted, and no record says so"


def is_canonical(line: bytes) -> bool:
    """Whether a line is written as we write them: reading and writing it gives the same bytes."""
    try:
        return dump(json.loads(line)) == line
    except (ValueError, RecursionError):
        return False


def _form(line: bytes) -> str:
    return redacted_hash(line, line_hash(line))


def _broken(name: str, number: int, line: bytes, before: Head, lines: list[bytes]) -> ChainBroken:
    """Which line is the bad one, and what is wrong with it."""
    seq = before.seq + 1
    found, prev = place(line)
    if found == 0:
        return ChainBroken(name, number, "this is no record")
    if found != seq:
        there = f"record {found} stands where record {seq} should"
        return ChainBroken(name, number, there)
    if prev == before.hash:
        return ChainBroken(name, number, f"record {seq} has something after its end")
    following = lines[lines.index(line) + 1 :]
    if number > 1 and following and place(following[0])[1] == line_hash(line):
        return ChainBroken(name, number - 1, f"record {seq - 1} was changed")
    reason = f"record {seq} does not follow record {seq - 1}: one of them was changed"
    return ChainBroken(name, number, reason)


def _parsed(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ChainBroken(name, number, "this is no record")
    return fields
