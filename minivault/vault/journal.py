"""The journal: what is begun and said so far, kept beside the log until the record is in it.

Each process has its own, `inflight-<process>-<random>.<number>.jsonl`, locked while it lives. Its
lines are `{"begin":{…}}`, `{"of":salt,"text":…}`, `{"end":{…}}` (a whole record that could not be
written to the log yet) and `{"void":salt}` (a begin that was refused after all).
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any

from minivault.vault.private_file import Folder, Lock, sync, try_lock, write_whole
from minivault.vault.record import dump, new_salt
from minivault.vault.withheld import Tally

PREFIX = "inflight-"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SALT = re.compile(r"[0-9a-f]{32}")
MAX_BYTES = 8 * 2**20


@dataclass(eq=False, slots=True)
class Entry:
    """A request that the journal has: the handle between its begin and its record."""

    fields: dict[str, Any]
    after: int  # the log's head when it began: its record comes later than that
    tally: Tally | None = None  # counts the response where texts are not stored
    number: int = 0  # of the journal file that has its begin
    _head: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self._head = f'{{"of":"{self.salt}",'

    @property
    def salt(self) -> str:
        return str(self.fields["salt"])

    @property
    def timestamp(self) -> str:
        return str(self.fields["timestamp"])

    def begin_line(self) -> bytes:
        return dump({"begin": self.fields | {"after": self.after}}) + b"\n"

    def piece_line(self, text: str) -> str:
        if self.tally is None:
            return f'{self._head}"text":{encode_basestring_ascii(text)}}}\n'
        return f'{self._head}"tally":{json.dumps(self.tally.add(text).fields())}}}\n'


class Journal:
    """This process's journal. `pieces` may be called from any thread; the rest is the writer's.

    When a file has grown to `max_bytes` another one is begun; the old one goes when everything
    that began in it has ended.
    """

    def __init__(
        self, folder: Folder, lock: Lock, *, max_bytes: int = MAX_BYTES, fsync: bool = True
    ) -> None:
        """Takes the lock, so that no other process sees the new file before it is locked."""
        self._folder = folder
        self._lock = lock
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._owner = f"{PREFIX}{os.getpid()}-{new_salt()[:8]}"
        self._files: dict[int, int] = {}  # number -> descriptor, the last one is written
        self._size = 0
        self._is_torn = False  # whether a write that failed may have left half a line
        self._open: dict[str, Entry] = {}
        self._writing = threading.Lock()
        with lock.held():
            self._extend(1)

    @property
    def open_entries(self) -> int:
        return len(self._open)

    def begin(self, entries: Iterable[Entry]) -> None:
        """Writes begins; they are durable after `sync`. Raises OSError."""
        begun = list(entries)
        if self._is_gone():
            raise FileNotFoundError(errno.ENOENT, "the journal was removed from the log folder")
        number = max(self._files)
        self._write(b"".join(entry.begin_line() for entry in begun))
        for entry in begun:
            entry.number = number
            self._open[entry.salt] = entry

    def sync(self) -> None:
        """Makes what was written durable. Raises SyncFailed."""
        if self._fsync:
            sync(self._current)

    def pieces(self, lines: str) -> None:
        """Writes what is said next, without waiting for the disk. Raises OSError."""
        self._write(lines.encode("ascii"))

    def end(self, fields: Mapping[str, Any]) -> None:
        """Keeps a record that the log cannot take now. Raises OSError."""
        self._write(dump({"end": fields}) + b"\n")

    def void(self, entries: Iterable[Entry]) -> None:
        """Takes back begins that were refused."""
        voided = list(entries)
        for entry in voided:
            self._open.pop(entry.salt, None)
        self._write(b"".join(dump({"void": entry.salt}) + b"\n" for entry in voided))

    def forget(self, entries: Iterable[Entry]) -> None:
        """These are in the log; a file that has grown too long gets a successor (lock held)."""
        for entry in entries:
            self._open.pop(entry.salt, None)
        if self._size >= self._max_bytes:
            self._extend(max(self._files) + 1)
        self._remove_before(min((e.number for e in self._open.values()), default=max(self._files)))

    def tidy(self) -> None:
        """Empties the file if nothing is open (lock held: a redaction may be at work in it).

        Not after each record: the next begin would have to wait for new blocks.
        """
        with self._writing:
            if self._size and not self._open:
                self._is_torn = True
                self._size = 0
                os.ftruncate(self._current, 0)
                self._is_torn = False

    def probe(self, size: int = 4096) -> None:
        """Tries whether the disk takes something. Raises OSError."""
        if self._is_gone():
            with self._lock.held():
                self._extend(max(self._files) + 1)
        with self._writing:
            self._append(b"\n" * size)
            self._size -= size
            self._is_torn = True
            os.ftruncate(self._current, self._size)
            self._is_torn = False
        self.sync()

    def close(self) -> None:
        """Removes the files if nothing is open; otherwise the next start finds them."""
        if not self._open:
            for number in self._files:
                self._folder.remove(self._name(number))
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    @property
    def _current(self) -> int:
        return self._files[max(self._files)]

    def _name(self, number: int) -> str:
        return f"{self._owner}.{number:06d}.jsonl"

    def _write(self, data: bytes) -> None:
        with self._writing:
            self._append(data)

    def _append(self, data: bytes) -> None:
        if self._is_torn:
            os.ftruncate(self._current, self._size)
        self._is_torn = True
        write_whole(self._current, data, self._size)
        self._is_torn = False
        self._size += len(data)

    def _extend(self, number: int) -> None:
        descriptor = self._folder.create(self._name(number))
        try_lock(descriptor)
        with self._writing:
            self._files[number] = descriptor
            self._size = 0
            self._is_torn = False

    def _remove_before(self, number: int) -> None:
        for old in [each for each in self._files if each < number]:
            self._folder.remove(self._name(old))
            os.close(self._files.pop(old))

    def _is_gone(self) -> bool:
        """Whether somebody deleted the file: what is written to it would be lost."""
        return os.fstat(self._current).st_nlink == 0


@dataclass(eq=False, slots=True)
class Orphan:
    """The journal of a process that is gone: its files, and what it had not finished."""

    names: list[str] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    unfinished: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: int = 0  # lines that nobody can read, though something came after them

    @property
    def after(self) -> int:
        """The log's head before any of its records could have come."""
        return min((fields["after"] for fields in self.unfinished.values()), default=0)

    def read(self) -> None:
        for descriptor in self.descriptors:
            with open(descriptor, "rb", closefd=False) as file:
                is_bad = False
                for line in file:
                    self.damaged += is_bad
                    is_bad = not self._understood(line)  # the last one may be torn

    def _understood(self, line: bytes) -> bool:
        """What a redaction blanked, and what a torn write was filled up with, is nothing."""
        if not line.strip(b" \n\0"):
            return True
        try:
            self._apply(json.loads(line))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return False
        return True

    def _apply(self, step: Mapping[str, Any]) -> None:
        match step:
            case {"begin": fields}:
                _require_sound(fields)
                self.unfinished[fields["salt"]] = _interrupted(fields)
            case {"of": str(salt)} if salt not in self.unfinished:
                pass  # its record is in the log
            case {"of": salt, "text": str(text)}:
                self.unfinished[salt]["response"] += text
                self.unfinished[salt]["events"] += 1
            case {"of": salt, "tally": dict(tally)}:
                self.unfinished[salt]["withheld"]["response"] = tally
                self.unfinished[salt]["events"] += 1
            case {"end": fields}:
                _require_sound(fields)
                after = self.unfinished.get(fields["salt"], {"after": 0})["after"]
                self.unfinished[fields["salt"]] = {**fields, "after": after}
            case {"void": salt}:
                self.unfinished.pop(salt, None)
            case _:
                raise ValueError("no line of a journal")

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def orphans(folder: Folder) -> Iterator[Orphan]:
    """The journals of processes that are gone, each locked and read (call with the log locked)."""
    owners: dict[str, list[str]] = {}
    for name in folder.names():
        if name.startswith(PREFIX):
            owners.setdefault(name.split(".", 1)[0], []).append(name)
    for names in owners.values():
        orphan = _adopt(folder, names)
        if orphan:
            orphan.read()
            yield orphan


def _adopt(folder: Folder, names: list[str]) -> Orphan | None:
    orphan = Orphan()
    for name in names:
        try:
            descriptor = folder.open(name, os.O_RDWR)
        except FileNotFoundError:  # its owner lives, and just removed it
            continue
        orphan.names.append(name)
        orphan.descriptors.append(descriptor)
        if not try_lock(descriptor):
            orphan.close()
            return None
    return orphan


def _require_sound(fields: Mapping[str, Any]) -> None:
    """Raises ValueError for what would not be a record."""
    texts = (fields.get("prompt"), fields.get("response"))
    is_text = all(each is None or isinstance(each, str) for each in texts)
    if not is_text or not _TIMESTAMP.fullmatch(fields["timestamp"]):
        raise ValueError("no time or no text")
    if not _SALT.fullmatch(fields["salt"]) or not isinstance(fields["id"], str):
        raise ValueError("no name")


def _interrupted(fields: dict[str, Any]) -> dict[str, Any]:
    """A begin's record as long as nothing else is known.

    Its events are `start` and an end that nobody was told: a reader that has every piece still
    lacks that one, so the text goes on for it.
    """
    response = None if "withheld" in fields else ""
    unknown = {"prompt_tokens": None, "completion_tokens": None}
    ended = {"finish_reason": "interrupted", "usage": unknown, "timings": {}, "events": 2}
    return {**fields, "response": response, **ended}
