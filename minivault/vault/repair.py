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
from minivault.vault.chain import Chain, Head
from minivault.vault.checkpoint import Checkpoint
from minivault.vault.checkpoint_file import CheckpointFile
from minivault.vault.copies import require_same_copies
from minivault.vault.private_file import Folder, Lock, reason, sync
from minivault.vault.record import Record, dump, line_hash, link, now
from minivault.vault.redacted import was_of
from minivault.vault.rewrite import rewrite
from minivault.vault.segments import ASIDE, Segment, log_files, segments
from minivault.vault.signing import Signer

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


def adopt(folder: Path, signing_key: Path | None = None) -> tuple[Checkpoint, Checkpoint | None]:
    """Takes a log whose chain is whole as the one to go on with; signs it if there is a key.

    Returns its checkpoint and the one that was there. Raises ChainBroken, CannotStart.
    """
    with _opened(folder, signing_key) as (opened, signer):
        chain = Chain()
        for segment in segments(folder):
            chain.walk_segment(segment)
        chain.finish()
        require_same_copies(folder)
        checkpoint = CheckpointFile(opened, signer)
        before = checkpoint.adopt(chain.head or Head(), max(1, chain.first), chain.base)
        return checkpoint.known, before


def repair(folder: Path, signing_key: Path | None = None) -> Repaired:
    """Raises NotFound if there is nothing to repair, CannotStart or ChainBroken if it cannot be."""
    with _opened(folder, signing_key) as (opened, signer):
        files, chain, good, why = log_files(folder), Chain(), [b""], ""
        earlier: list[Segment] = []
        for segment in files.log:
            good = []
            why = _walk(chain, segment, good)
            if why:
                break
            earlier.append(segment)
        else:
            raise NotFound("the chain of the log is whole: there is nothing to repair")
        later = [*files.log[len(earlier) + 1 :], *files.copies]
        repaired = Repaired(chain.seq, why)
        aside = _set_aside(opened, segment)
        hashes = {aside: _sha256(folder / aside)}
        rest = [*_lines(segment)[len(good) :], *(line for each in later for line in _lines(each))]
        known = _salts(line for each in earlier for line in _lines(each)) | _salts(good)
        bodies = list(_bodies(rest, known, repaired))
        repaired.aside = [aside, *map(_aside, later)]
        told = {"after": chain.seq, "reason": why, "files": hashes, "moved": repaired.moved}
        bodies.insert(0, dump({"timestamp": now(), "repairs": told})[:-1])
        head, new = chain.head or Head(), []
        for body in bodies:
            line = body + link(head.seq + 1, head.hash, head.redacted)
            head = Head.of(line)
            new.append(line + b"\n")
        rewrite(opened, segment, [*(line + b"\n" for line in good), *new])
        for each in later:
            opened.rename(each.name, _aside(each))
        CheckpointFile(opened, signer).adopt(head, max(1, chain.first), chain.base)
        return repaired


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


def _walk(chain: Chain, segment: Segment, good: list[bytes]) -> str:
    """Collects the lines that follow; says what is wrong with the first one that does not."""
    for line in _lines(segment):
        try:
            chain.walk(BytesIO(line + b"\n"), segment.name)
        except ChainBroken as error:
            return error.reason
        good.append(line)
    return ""


def _lines(segment: Segment) -> list[bytes]:
    """All lines, a half one at the end too. Raises ChainBroken for what cannot be read."""
    with segment.reading() as file:
        return [line for line in file.read().split(b"\n") if line]


def _bodies(lines: Iterable[bytes], known: set[bytes], repaired: Repaired) -> Iterator[bytes]:
    """The records of the rest without their links, with the place that they had."""
    for line in lines:
        end, salt = _LINK.search(line), _SALT.search(line)
        if end and salt and _is_record(line):
            if salt[1] not in known:
                known.add(salt[1])
                repaired.moved += 1
                yield line[: end.start()] + b',"moved":' + _place(line, end)
        elif end and b'"redacts":' in line[:60] and _is_record(line):
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
