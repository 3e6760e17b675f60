"""The log file: appends records under the lock all processes share, and rotates."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from minivault.errors import ChainBroken, LogUnavailable
from minivault.schemas import Receipt
from minivault.vault import checkpoint as checkpoints
from minivault.vault.chain import Chain
from minivault.vault.checkpoint import Checkpoint, Signer
from minivault.vault.private_file import Folder, sync, write_whole
from minivault.vault.record import GENESIS, line_hash, link, new_salt
from minivault.vault.segments import (
    NAME,
    TORN,
    end_of_lines,
    lines_after,
    lines_backwards,
    place,
    segments,
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file is begun, and which old ones are removed."""

    max_bytes: int = 64 * 2**20
    keep_files: int | None = None
    keep_days: float | None = None


class Log:
    """`log.jsonl` and its head. Every method is called with the folder's lock held."""

    def __init__(
        self,
        folder: Folder,
        rotation: Rotation | None = None,
        *,
        signer: Signer | None = None,
        fsync: bool = True,
    ) -> None:
        self._folder = folder
        self._rotation = rotation or Rotation()
        self._signer = signer
        self._fsync = fsync
        self._fd = -1
        self._end = 0
        self.seq = 0
        self.head = GENESIS
        self.checkpoint = Checkpoint(f"minivault/{new_salt()}", 0, GENESIS)

    def open(self) -> None:
        """Repairs the file's tail and checks it. Raises ChainBroken, BadCheckpoint, OSError."""
        if data := self._read_checkpoint():
            self.checkpoint = checkpoints.parse(data)
        self._fd = self._folder.append(NAME)
        self._cut_torn_tail()
        self._find_head()
        self._require_checkpoint()
        if self.checkpoint.seq == 0 and self.seq:
            self.write_checkpoint()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, bodies: Sequence[bytes]) -> list[Receipt]:
        """Gives each record its place, and writes all with one write and one sync.

        A body is what `record.render` made. Raises OSError if nothing was written, SyncFailed if
        it is unknown what was, LogUnavailable if the log was changed from outside.
        """
        self.catch_up()
        if self._end and self._end + sum(map(len, bodies)) > self._rotation.max_bytes:
            self._rotate()
        data, receipts = self._chained(bodies)
        write_whole(self._fd, data, self._end)
        if self._fsync:
            sync(self._fd)
        self._end += len(data)
        self.seq, self.head = receipts[-1].seq, receipts[-1].hash
        return receipts

    def catch_up(self) -> None:
        """Reads what other processes wrote; notices a file that was rotated or replaced."""
        here, there = os.fstat(self._fd), self._folder.stat(NAME)
        moved = there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)
        if here.st_size < self._end:
            raise LogUnavailable("the log became shorter: somebody cut it while it was in use")
        if here.st_size > self._end:
            self._read_on(here.st_size)
        if moved:
            self._reopen()

    def remove_old(self) -> None:
        """Removes the files that the retention rules give up, and says so in the checkpoint."""
        rotated = [each for each in segments(self._folder.path) if each.name != NAME]
        kept = [each for each in rotated if not self._is_too_old(each.path.stat().st_mtime)]
        if self._rotation.keep_files is not None:
            kept = kept[max(0, len(kept) - self._rotation.keep_files) :]
        oldest = kept[0].first if kept else self._first_here()
        removed = [each for each in rotated if each.first < oldest]
        if not removed:
            return
        self.checkpoint = replace(self.checkpoint, first=oldest, base=self._base_of(oldest))
        self.write_checkpoint()
        for segment in removed:
            self._folder.remove(segment.name)
        self._folder.sync()

    def write_checkpoint(self) -> None:
        """Keeps the head beside the log (after the log's sync, which `append` did)."""
        if data := self._read_checkpoint():  # another process may have removed old files
            with contextlib.suppress(checkpoints.BadCheckpoint):
                known = checkpoints.parse(data)
                if known.first > self.checkpoint.first:
                    self.checkpoint = known
        self.checkpoint = self.checkpoint.advanced(self.seq, self.head)
        self._folder.replace(checkpoints.NAME, checkpoints.dump(self.checkpoint, self._signer))

    @property
    def is_checkpointed(self) -> bool:
        return self.checkpoint.seq == self.seq

    def salts_after(self, seq: int) -> set[bytes]:
        """The salts of all records that came after record `seq`, as they stand in their lines."""
        found: set[bytes] = set()
        for line in lines_after(self._folder.path, seq):
            at = line.rfind(b',"salt":"')
            if at >= 0:
                found.add(line[at + 9 : line.find(b'"', at + 9)])
        return found

    def _chained(self, bodies: Sequence[bytes]) -> tuple[bytes, list[Receipt]]:
        seq, head = self.seq, self.head
        lines: list[bytes] = []
        receipts: list[Receipt] = []
        for body in bodies:
            seq += 1
            line = body + link(seq, head)
            head = line_hash(line)
            lines.append(line + b"\n")
            receipts.append(Receipt(seq=seq, hash=head))
        return b"".join(lines), receipts

    def _read_on(self, size: int) -> None:
        """Follows the chain over what others appended; half a line is one whose writer died."""
        data = os.pread(self._fd, size - self._end, self._end)
        whole = data[: data.rfind(b"\n") + 1]
        chain = Chain(seq=self.seq, head=self.head)
        try:
            chain.walk(BytesIO(whole), NAME)
        except ChainBroken as error:
            what = f"after record {self.seq}, {error.reason}"
            raise LogUnavailable(f"the log was changed by something else: {what}") from error
        self.seq, self.head = chain.seq or 0, chain.head
        self._end += len(whole)
        if len(whole) < len(data):
            self._cut(self._end)

    def _reopen(self) -> None:
        """The name belongs to another file now: rotated by us or by logrotate, or redacted."""
        seq, head = self.seq, self.head
        self._switch()
        self._cut_torn_tail()
        self._find_head()
        if self.seq < seq:  # it was moved to where we do not look, and a new one begins
            if self._end:
                raise LogUnavailable("the log was replaced by an older one")
            self.seq, self.head = seq, head

    def _find_head(self) -> None:
        """The last record's place and hash, from this file, an older one or the checkpoint."""
        self._end = os.fstat(self._fd).st_size
        for _, line in lines_backwards(self._fd, self._end):
            self.seq, self.head = place(line)[0], line_hash(line)
            return
        rotated = segments(self._folder.path)
        if rotated:
            line = rotated[-1].last_line()
            self.seq, self.head = place(line)[0], line_hash(line)
        elif self.checkpoint.seq >= self.seq:
            self.seq, self.head = self.checkpoint.seq, self.checkpoint.head

    def _require_checkpoint(self) -> None:
        """Checks this file, and that it is what the checkpoint says. Raises ChainBroken."""
        chain = Chain(watched={self.checkpoint.seq: None})
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            chain.walk(file, NAME)
        found = chain.watched[self.checkpoint.seq]
        if self.seq < self.checkpoint.seq:
            reason = f"the checkpoint knows record {self.checkpoint.seq}: the tail was cut"
            raise ChainBroken(NAME, chain.seq or 0, reason)
        if self.checkpoint.seq and found not in (None, self.checkpoint.head):
            reason = f"record {self.checkpoint.seq} is not the one of the checkpoint"
            raise ChainBroken(NAME, self.checkpoint.seq - chain.first + 1, reason)

    def _cut_torn_tail(self) -> None:
        """A write that was cut off left half a line, or a hole: nobody was told of it yet."""
        size = os.fstat(self._fd).st_size
        whole = end_of_lines(self._fd, size)
        good = self._before_holes(whole)
        if good < size:
            self._cut(good)

    def _before_holes(self, end: int) -> int:
        """Where the first line with a hole begins, if it came after the checkpoint.

        We never write a zero byte: where there is one the disk had no data when the power went.
        """
        good = end
        for start, line in lines_backwards(self._fd, end):
            seq = place(line)[0]
            if seq and b"\0" not in line and seq <= self.checkpoint.seq:
                return good if seq == self.checkpoint.seq else end
            if b"\0" in line:
                good = start
        return good if self.checkpoint.seq == 0 else end

    def _cut(self, good: int) -> None:
        """Sets the bytes after `good` aside, and removes them from the log."""
        size = os.fstat(self._fd).st_size
        with contextlib.suppress(OSError):  # a full disk must not keep us from going on
            aside = self._folder.create(f"{NAME}{TORN}{time.time_ns()}")
            with open(aside, "wb") as file:
                file.write(os.pread(self._fd, size - good, good))
        os.ftruncate(self._fd, good)
        sync(self._fd)

    def _rotate(self) -> None:
        first = self._first_here()
        name = f"log-{first:012d}.jsonl"
        if self._folder.stat(name):
            raise FileExistsError(errno.EEXIST, f"{name} is there already")
        self._folder.rename(NAME, name)
        self._switch()
        self._end = 0
        with contextlib.suppress(OSError):  # the records come first; it is tried again
            self.remove_old()

    def _switch(self) -> None:
        """Goes on in the file that has the name now."""
        descriptor = self._folder.append(NAME)
        os.close(self._fd)
        self._fd = descriptor

    def _first_here(self) -> int:
        """The sequence number of the first record in this file, or of the next one to come."""
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            return place(file.readline().rstrip(b"\n"))[0] or self.seq + 1

    def _base_of(self, first: int) -> str:
        for segment in segments(self._folder.path):
            if segment.first == first:
                return place(segment.first_line())[1]
        return self.head

    def _is_too_old(self, modified: float) -> bool:
        days = self._rotation.keep_days
        return days is not None and time.time() - modified > days * 86400

    def _read_checkpoint(self) -> bytes | None:
        try:
            return self._folder.read(checkpoints.NAME)
        except FileNotFoundError:
            return None
