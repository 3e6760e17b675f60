"""Repair: a log whose chain is broken, forked perhaps, is brought back to work; nothing is lost.

What stands before the break stays as it is. The files with the rest are set aside, byte for byte.
A record tells of it, and every record of the rest is written again behind it, with the place and
the links that it had, so that its hash, and a receipt for it, can still be checked.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from minivault.errors import CannotStart, ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault.chain import Chain, Head, Judge, told_by, untold
from minivault.vault.checkpoint import Checkpoint
from minivault.vault.checkpoint_file import CheckpointFile
from minivault.vault.copies import require_same_copies
from minivault.vault.private_file import Folder, Lock, reason, sync
from minivault.vault.record import Record, dump, line_hash, link, now
from minivault.vault.redacted import was_of
from minivault.vault.rewrite import rewrite
from minivault.vault.segments import ASIDE, Segment, log_files, place, segments
from minivault.vault.signing import Signer
from minivault.vault.tree.log_tree import LogTree

_LINK = re.compile(
    rb'(?:,"prev_redacted":"([0-9a-f]{64})")?,"seq":(\d{1,18}),"prev":"([0-9a-f]{64})"\}$'
)
_MOVED = re.compile(rb',"moved":(\{[^{}]*\})')
_SALT = re.compile(rb',"salt":"([0-9a-f]{32})"')


@dataclass(slots=True)
class Repaired:
    """What was done: after record `after` `moved` records were written again.

    `aside` names the files that were set aside; `left` lines were no records and are only there.
    """

    after: int
    reason: str
    moved: int = 0
    left: int = 0
    aside: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Break:
    """Where a chain breaks, and why; "" if it does not.

    `good` are the lines of the file `segment` up to there, `rest` those behind it, of all files.
    """

    chain: Chain
    segment: Segment
    good: list[bytes] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The checkpoint and the one that was `before`; the redacted records that nobody signed for."""

    now: Checkpoint
    before: Checkpoint | None
    unsigned: list[int]


def adopt(folder: Path, signing_key: Path | None = None) -> Adopted:
    """Takes a log whose chain is whole as the one to go on with; signs it if there is a key.

    Raises ChainBroken, CannotStart.
    """
    with _opened(folder, signing_key) as (opened, signer):
        chain = Chain()
        for segment in segments(folder):
            chain.walk_segment(segment)
        chain.finish()
        require_same_copies(folder)
        checkpoint = CheckpointFile(opened, signer)
        checkpoint.look()
        judge = checkpoint.judge
        unsigned = sorted(each.target for each in chain.told.values() if judge and judge(each))
        before = _vouch(checkpoint, LogTree(folder, signer), chain.head or Head(), chain)
        return Adopted(checkpoint.known, before, unsigned)


def repair(folder: Path, signing_key: Path | None = None) -> Repaired:
    """Raises NotFound if there is nothing to repair, CannotStart or ChainBroken if it cannot be."""
    with _opened(folder, signing_key) as (opened, signer):
        checkpoint = CheckpointFile(opened, signer)
        checkpoint.look()
        files = log_files(folder)
        found = _first_break(files.log, checkpoint.judge) if files.log else None
        if found is None:
            raise NotFound("the chain of the log is whole: there is nothing to repair")
        chain, segment, at = found.chain, found.segment, files.log.index(found.segment)
        earlier, later = files.log[:at], [*files.log[at + 1 :], *files.copies]
        repaired = Repaired(chain.seq, found.why)
        aside = _set_aside(opened, segment)
        hashes = {aside: _sha256(folder / aside)}
        rest = [*found.rest, *(line for each in files.copies for line in _lines(each))]
        known = _salts(line for each in earlier for line in _lines(each)) | _salts(found.good)
        bodies = list(_bodies(rest, known, repaired, checkpoint.judge))
        repaired.aside = [aside, *map(_aside, later)]
        told = {"after": chain.seq, "reason": found.why, "files": hashes, "moved": repaired.moved}
        bodies.insert(0, dump({"timestamp": now(), "repairs": told})[:-1])
        head, new = chain.head or Head(), []
        for body in bodies:
            line = body + link(head.seq + 1, head.hash, head.redacted)
            head = Head.of(line)
            new.append(line + b"\n")
        rewrite(opened, segment, [*(line + b"\n" for line in found.good), *new])
        for each in later:
            opened.rename(each.name, _aside(each))
        _vouch(checkpoint, LogTree(folder, signer), head, chain)
        return repaired


def _vouch(file: CheckpointFile, tree: LogTree, head: Head, chain: Chain) -> Checkpoint | None:
    """For the log up to `head`, and its tree; returns the checkpoint that was there."""
    is_other = not tree.adopt(head.seq)
    before = file.adopt(head, max(1, chain.first), chain.base, is_other=is_other)
    while tree.seq < head.seq and not tree.problem:
        tree.follow(head.seq, file.known.origin)
    return before


def where_moved(folder: Path, receipt: Receipt) -> int | None:
    """The number that a repair gave to the record of a receipt, if its line had that hash."""
    needle = b'"moved":{"seq":%d,' % receipt.seq
    for segment in segments(folder):
        for line in segment.lines():
            if needle in line and _was(line) == receipt.hash:
                return Record.parse(line).seq
    return None


@contextmanager
def _opened(folder: Path, signing_key: Path | None) -> Iterator[tuple[Folder, Signer | None]]:
    signer = Signer.load(signing_key) if signing_key else None
    opened = Folder(folder)
    try:
        with Lock(opened).held():
            checkpoint = CheckpointFile(opened)
            checkpoint.look()
            if checkpoint.is_left_alone and signer is None:
                raise CannotStart(f"the log in {folder} is signed: give --signing-key")
            yield opened, signer
    except OSError as error:
        raise CannotStart(f"the log in {folder}: {reason(error)}") from error
    finally:
        opened.close()


def _first_break(log: list[Segment], judge: Judge | None) -> _Break | None:
    """None if the chain is whole.

    A line that follows from the one before it can be bad too: dressed as redacted, and no record
    tells of it, neither before the break nor in the rest.
    """
    found = _walked(log, judge)
    for each in map(told_by, found.rest):
        if each and not (judge and judge(each)):
            found.chain.told[each.target] = each
    if bad := found.chain.untold():
        found = _walked(log, judge, bad[0])
    return found if found.why else None


def _walked(log: list[Segment], judge: Judge | None, bad: int = 0) -> _Break:
    """Follows the chain to the first line that does not follow, or to record `bad`."""
    found = _Break(Chain(judge=judge), log[0])
    for segment in log:
        lines = _lines(segment)
        if found.why:
            found.rest += lines
            continue
        found.segment, found.good = segment, []
        for number, line in enumerate(lines):
            try:
                if bad and place(line)[0] == bad:
                    raise ChainBroken(segment.name, number + 1, untold(bad))
                found.chain.walk(BytesIO(line + b"\n"), segment.name)
            except ChainBroken as error:
                found.why, found.rest = error.reason, lines[number:]
                break
            found.good.append(line)
    return found


def _lines(segment: Segment) -> list[bytes]:
    """All lines, a half one at the end too. Raises ChainBroken for what cannot be read."""
    with segment.reading() as file:
        return [line for line in file.read().split(b"\n") if line]


def _bodies(
    lines: Iterable[bytes], known: set[bytes], repaired: Repaired, judge: Judge | None
) -> Iterator[bytes]:
    """The records of the rest without their links, with the place that they had."""
    for line in lines:
        end, salt = _LINK.search(line), _SALT.search(line)
        if end and salt and _is_record(line):
            if salt[1] not in known:
                known.add(salt[1])
                repaired.moved += 1
                yield line[: end.start()] + b',"moved":' + _place(line, end)
        elif end and (told := told_by(line)) and not (judge and judge(told)):
            yield line[: end.start()]  # it tells of a record that may stand before the break
        else:
            repaired.left += 1


def _is_record(line: bytes) -> bool:
    try:
        return "redacted" not in Record.parse(line).fields
    except ChainBroken:
        return False


def _place(line: bytes, end: re.Match[bytes]) -> bytes:
    place: dict[str, Any] = {"seq": int(end[2]), "hash": line_hash(line), "prev": end[3].decode()}
    if end[1]:
        place["prev_redacted"] = end[1].decode()
    return dump(place)


def _was(line: bytes) -> str | None:
    """The hash that a moved line had, made from what is in it; as it says itself if redacted."""
    found = _MOVED.search(line)
    if not found:
        return None
    place = Record.parse(line).fields["moved"]
    if was_of(line):
        return str(place.get("hash"))
    old = line[: found.start()] + link(place["seq"], place["prev"], place.get("prev_redacted"))
    return line_hash(old)


def _salts(lines: Iterable[bytes]) -> set[bytes]:
    return {found[1] for line in lines if (found := _SALT.search(line))}


def _aside(segment: Segment) -> str:
    """With the file's number, so that no earlier one is overwritten."""
    return f"{ASIDE}{segment.path.stat().st_ino}-{segment.name}"


def _set_aside(folder: Folder, segment: Segment) -> str:
    """A copy of the broken file: the file itself is written anew."""
    name = f"{ASIDE}{time.time_ns()}-{segment.name}"
    with open(folder.create(name), "wb") as file:
        file.write(segment.path.read_bytes())
        file.flush()
        sync(file.fileno())
    return name


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
