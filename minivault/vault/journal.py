"""The journal: what is begun and said so far, kept beside the log until the record is in it.

Each process has its own, `inflight-<process>-<random>.<number>.jsonl`, locked while it lives. Its
lines are `{"begin":{…}}`, `{"of":salt,"text":…}`, `{"end":{…}}` (a whole record that could not be
written to the log yet) and `{"void":salt}` (a begin that was refused after all).
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any

from minivault.vault.private_file import Folder, Lock, sync, try_lock, write_whole
from minivault.vault.record import dump, new_salt
from minivault.vault.withheld import Tally

PREFIX = "inflight-"
MAX_BYTES = 8 * 2**20


@dataclass(eq=False, slots=True)
class Entry:
    """A request that the journal has: the handle between its begin and its record."""

    fields: dict[str, Any]
    after: int  # the log's head when it began: its record comes later than that
    tally: Tally | None = None  # counts the response where texts are not stored
    number: int = 0  # of the journal file that has its begin
    salt: str = field(init=False)
    timestamp: str = field(init=False)
    _head: str = field(init=False)

    def __post_init__(self) -> None:
        self.salt, self.timestamp = self.fields["salt"], self.fields["timestamp"]
        self._head = f'{{"of":"{self.salt}",'

    def begin_line(self) -> bytes:
        return dump({"begin": self.fields | {"after": self.after}}) + b"\n"

    def piece_line(self, text: str) -> str:
        if self.tally is None:
            return f'{self._head}"text":{encode_basestring_ascii(text)}}}\n'
        return f'{self._head}"tally":{json.dumps(self.tally.add(text).fields())}}}\n'


class Journal:
    """This process's journal. `write` may be called from any thread; the rest is the writer's.

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
        self._files: dict[int, int] = {}  # number -> descriptor
        self._number = self._current = 0  # the last of them, which is written
        self._size = 0
        self._is_torn = False  # whether a write that failed may have left half a line
        self._open: dict[str, Entry] = {}
        self._writing = threading.RLock()
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
        self.write(b"".join(entry.begin_line() for entry in begun))
        for entry in begun:
            entry.number = self._number
            self._open[entry.salt] = entry

    def sync(self) -> None:
        """Makes what was written durable. Raises SyncFailed."""
        if self._fsync:
            sync(self._current)

    def write(self, lines: bytes) -> None:
        """Writes what comes next, without waiting for the disk. Raises OSError."""
        with self._writing:
            if self._is_torn:
                os.ftruncate(self._current, self._size)
            self._is_torn = True
            write_whole(self._current, lines, self._size)
            self._is_torn = False
            self._size += len(lines)

    def end(self, fields: Mapping[str, Any]) -> None:
        """Keeps a record that the log cannot take now. Raises OSError."""
        self.write(dump({"end": fields}) + b"\n")

    def void(self, entries: Iterable[Entry]) -> None:
        """Takes back begins that were refused."""
        voided = list(entries)
        for entry in voided:
            self._open.pop(entry.salt, None)
        self.write(b"".join(dump({"void": entry.salt}) + b"\n" for entry in voided))

    def forget(self, entries: Iterable[Entry]) -> None:
        """These are in the log; a file that has grown too long gets a successor (lock held)."""
        for entry in entries:
            self._open.pop(entry.salt, None)
        if self._size >= self._max_bytes:
            self._extend(self._number + 1)
        needed = min((each.number for each in self._open.values()), default=self._number)
        for old in [each for each in self._files if each < needed]:
            self._folder.remove(self._name(old))
            os.close(self._files.pop(old))

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
                self._extend(self._number + 1)
        with self._writing:
            self.write(b"\n" * size)
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
        with self._writing:  # whoever comes late must not write to another file of this number
            self._current = -1
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _name(self, number: int) -> str:
        return f"{self._owner}.{number:06d}.jsonl"

    def _extend(self, number: int) -> None:
        descriptor = self._folder.create(self._name(number))
        try_lock(descriptor)
        with self._writing:
            self._files[number] = self._current = descriptor
            self._number = number
            self._size = 0
            self._is_torn = False

    def _is_gone(self) -> bool:
        """Whether somebody deleted the file: what is written to it would be lost."""
        return os.fstat(self._current).st_nlink == 0
