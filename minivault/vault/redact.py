"""Redaction: takes the text of one record out of every file, and says so in the log.

First a record `{"redacts":seq,"was":…,"now":…}` is appended, then the line is replaced. A crash in
between leaves the text and a record that announces its removal; redacting again finishes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import CannotStart, ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault.journal import PREFIX
from minivault.vault.log import Log
from minivault.vault.private_file import Folder, Lock, reason, sync
from minivault.vault.reader import Reader
from minivault.vault.record import Record, dump, line_hash, now
from minivault.vault.redacted import Redaction, redacted_form
from minivault.vault.rewrite import rewrite
from minivault.vault.segments import NAME, TORN, UNREADABLE, Segment, segments
from minivault.vault.signing import BadCheckpoint, Signer

#: Shorter texts stand in many records by chance.
_TELLING = 16  # characters


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was done: the receipt of each record that tells of one, by the redacted record's number.

    `files` still hold the text (copies that somebody made, backups); `records` quote it.
    """

    receipts: dict[int, Receipt]
    files: list[str]
    records: list[int]


def copies_of(folder: Path, seq: int) -> list[int]:
    """The other records that hold the text of record `seq`: replays of it, what it goes on with.

    Raises NotFound if there is no such record.
    """
    record = Reader(folder).get(seq)
    same, ids = {seq}, {record.id}
    grown = True
    while grown:
        before = len(same)
        for each in map(Record.parse, Reader(folder).forwards()):
            if each.fields.get("replays") in same or (each.id and each.id in ids):
                same.add(each.seq)
                ids.add(each.id)
        grown = len(same) > before
    return sorted(seq for seq in same - {record.seq} if not Reader(folder).get(seq).is_redacted)


def redact(
    folder: Path, seq: int, *, others: Iterable[int] = (), signing_key: Path | None = None
) -> Redacted:
    """Removes the text of record `seq`, and of `others`, for good.

    Servers may go on writing. Raises NotFound if there is no such record or no text in it, and
    CannotStart if the log cannot be changed.
    """
    opened = Folder(folder)
    try:
        signer = Signer.load(signing_key) if signing_key else None
        log = Log(opened, signer=signer)
        with Lock(opened).held():
            log.open()
            if log.checkpoint.is_left_alone:
                why = "the log is signed, and so is a redaction: give --signing-key"
                raise CannotStart(f"the log in {folder}: {why}")
            records = [_record(folder, each) for each in dict.fromkeys([seq, *others])]
            receipts = {each.seq: _redact(opened, log, each, signer) for each in records}
            files = _holders(folder, records)
            return Redacted(receipts, files, _quoting(folder, records))
    except (OSError, BadCheckpoint, ChainBroken) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise CannotStart(f"the log in {folder}: {why}") from error
    finally:
        opened.close()


def _record(folder: Path, seq: int) -> Record:
    record = Reader(folder).get(seq)
    if record.is_redaction:
        raise NotFound(f"record {seq} tells of a redaction; there is no text in it")
    if record.is_redacted:
        raise NotFound(f"record {seq} is redacted already")
    if "salt" not in record.fields:
        raise NotFound(f"record {seq} holds no text")
    return record


def _redact(folder: Folder, log: Log, record: Record, signer: Signer | None) -> Receipt:
    salt = str(record.fields["salt"]).encode()
    line = _line(folder.path, record.seq)
    _clean_journals(folder, salt)  # before the log: a salt in a journal alone would be recovered
    _clean_torn(folder, salt, record.timestamp.encode())
    receipt = _announced(folder.path, record) or _announce(log, line, record.seq, signer)
    new = redacted_form(line, line_hash(line))
    segment = [each for each in segments(folder.path) if each.first <= record.seq][-1]
    with segment.reading() as source:
        old = line + b"\n"
        rewrite(folder, segment, (new + b"\n" if each == old else each for each in source))
    return receipt


def _line(folder: Path, seq: int) -> bytes:
    return next(Reader(folder).forwards(seq - 1))


def _announce(log: Log, line: bytes, seq: int, signer: Signer | None) -> Receipt:
    digest = line_hash(line)
    redaction = Redaction(digest, line_hash(redacted_form(line, digest)))
    fields = {"timestamp": now(), "redacts": seq, "was": redaction.was, "now": redaction.now}
    if signer:
        fields["signature"] = signer.sign(redaction.statement(seq))
    (receipt,) = log.append([dump(fields)[:-1]])
    log.write_checkpoint()
    return receipt


def _announced(folder: Path, record: Record) -> Receipt | None:
    """The record of a redaction that was not carried out."""
    needle = b'"redacts":%d,' % record.seq
    for line in Reader(folder).forwards(record.seq):
        if needle in line[:100]:
            found = Record.parse(line)
            return Receipt(seq=found.seq, hash=found.hash)
    return None


def _clean_journals(folder: Folder, salt: bytes) -> None:
    """Blanks the record's lines where they stand: a journal may be in use, its length must stay."""
    for name in folder.names():
        if name.startswith(PREFIX):
            descriptor = folder.open(name, os.O_RDWR)
            try:
                with open(descriptor, "rb", closefd=False) as file:
                    lines = file.readlines()
                offset = 0
                for line in lines:
                    if salt in line:
                        os.pwrite(descriptor, b" " * len(line.rstrip(b"\n")), offset)
                    offset += len(line)
                sync(descriptor)
            finally:
                os.close(descriptor)


def _clean_torn(folder: Folder, salt: bytes, timestamp: bytes) -> None:
    """Takes what is left of the record out of tails that were set aside, and of half-made files."""
    for name in folder.names():
        if TORN in name:
            lines = folder.read(name).split(b"\n")
            kept = [line for line in lines if salt not in line and timestamp not in line]
            if len(kept) < len(lines):
                folder.replace(name, b"\n".join(kept))
        elif name.startswith(f".{NAME[:3]}") and name.endswith(".new"):
            folder.remove(name)


def _holders(folder: Path, records: list[Record]) -> list[str]:
    """The files of the folder that still hold one of the lines: copies that others made."""
    salts = [str(each.fields["salt"]).encode() for each in records]
    holders = []
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            with Segment(path, 0).open() as file:
                if any(salt in line for line in file for salt in salts):
                    holders.append(path.name)
        except UNREADABLE:
            continue
    return holders


def _quoting(folder: Path, records: list[Record]) -> list[int]:
    """The records whose own prompt or answer holds a whole text of these: later turns of a chat."""
    texts = {each for record in records for each in (record.prompt, record.response) if each}
    needles = [json.dumps(each)[1:-1].encode() for each in texts if len(each) >= _TELLING]
    lines = Reader(folder).forwards() if needles else iter(())
    return [Record.parse(line).seq for line in lines if any(needle in line for needle in needles)]
