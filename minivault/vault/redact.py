"""Redaction: takes the text of one record out of every file, and says so in the log.

First a record `{"redacts":seq,"was":…,"now":…}` is appended, then the line is replaced. A crash in
between leaves the text and a record that announces its removal; redacting again finishes it.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from minivault.errors import CannotStart, NotFound
from minivault.schemas import Receipt
from minivault.vault.checkpoint import BadCheckpoint, Signer
from minivault.vault.journal import PREFIX
from minivault.vault.log import Log
from minivault.vault.private_file import Folder, Lock, reason, sync
from minivault.vault.reader import Reader
from minivault.vault.record import Record, dump, line_hash, now
from minivault.vault.segments import TORN, Segment

_REMOVED = ("prompt", "response", "salt", "messages", "logprobs", "withheld")


def redact(folder: Path, seq: int, *, signing_key: Path | None = None) -> Receipt:
    """Removes the text of record `seq` for good. Returns the receipt of the record that tells it.

    Servers may go on writing. Raises NotFound if there is no such record or no text in it, and
    CannotStart if the log cannot be changed.
    """
    opened = Folder(folder)
    try:
        lock = Lock(opened)
        log = Log(opened, signer=Signer.load(signing_key) if signing_key else None)
        with lock.held():
            log.open()
            return _redact(opened, log, _record(folder, seq))
    except (OSError, BadCheckpoint) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise CannotStart(f"the log in {folder}: {why}") from error
    finally:
        opened.close()


def redacted_line(line: bytes) -> bytes:
    """The line as it is after redaction: without text and salt, with the hash it had."""
    fields = dict(Record.parse(line).fields)
    timestamp = fields.pop("timestamp")
    kept = {name: value for name, value in fields.items() if name not in _REMOVED}
    return dump({"timestamp": timestamp, "redacted": {"was": line_hash(line)}, **kept})


def _record(folder: Path, seq: int) -> Record:
    record = Reader(folder).get(seq)
    if record.is_redaction:
        raise NotFound(f"record {seq} tells of a redaction; there is no text in it")
    if record.is_redacted:
        raise NotFound(f"record {seq} is redacted already")
    return record


def _redact(folder: Folder, log: Log, record: Record) -> Receipt:
    line = dump(record.fields)
    salt = str(record.fields["salt"]).encode()
    _clean_journals(folder, salt)  # before the log: a salt in a journal alone would be recovered
    _clean_torn(folder, salt, record.timestamp.encode())
    receipt = _announced(folder.path, record) or _announce(log, line, record.seq)
    _replace(folder, _segment(folder.path, record.seq), line, redacted_line(line))
    return receipt


def _announce(log: Log, line: bytes, seq: int) -> Receipt:
    hashes = {"was": line_hash(line), "now": line_hash(redacted_line(line))}
    (receipt,) = log.append([dump({"timestamp": now(), "redacts": seq, **hashes})[:-1]])
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


def _segment(folder: Path, seq: int) -> Segment:
    return [each for each in Reader(folder).segments() if each.first <= seq][-1]


def _replace(folder: Folder, segment: Segment, old: bytes, new: bytes) -> None:
    """Writes the file anew with one line changed, and puts it in the old one's place."""
    temporary = f".{segment.name}.new"
    folder.remove(temporary)
    with open(folder.create(temporary), "wb") as raw:
        with segment.open() as source:
            changed = (new + b"\n" if line == old + b"\n" else line for line in source)
            if segment.is_compressed:
                with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                    packed.writelines(changed)
            else:
                raw.writelines(changed)
        raw.flush()
        sync(raw.fileno())
    shutil.copystat(segment.path, folder.path / temporary)  # its age counts for retention
    folder.rename(temporary, segment.name)


def _clean_journals(folder: Folder, salt: bytes) -> None:
    """Blanks the record's lines where they stand: a journal may be in use, its length must stay."""
    for name in folder.names():
        if name.startswith(PREFIX):
            descriptor = folder.open(name, os.O_RDWR)
            try:
                for offset, line in list(_lines_with(descriptor, salt)):
                    os.pwrite(descriptor, b" " * len(line), offset)
                sync(descriptor)
            finally:
                os.close(descriptor)


def _lines_with(descriptor: int, needle: bytes) -> Iterator[tuple[int, bytes]]:
    with open(descriptor, "rb", closefd=False) as file:
        offset = 0
        for line in file:
            if needle in line:
                yield offset, line.rstrip(b"\n")
            offset += len(line)


def _clean_torn(folder: Folder, salt: bytes, timestamp: bytes) -> None:
    """Takes what is left of the record out of tails that were set aside."""
    for name in folder.names():
        if TORN in name:
            lines = folder.read(name).split(b"\n")
            kept = [line for line in lines if salt not in line and timestamp not in line]
            if len(kept) < len(lines):
                folder.replace(name, b"\n".join(kept))
