"""The log file: appends records under the lock all processes share, and rotates."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from io import BytesIO

from minivault.errors import ChainBroken, LogUnavailable
from minivault.schemas import Receipt
from minivault.vault.chain import Chain, Head
from minivault.vault.checkpoint_file import ADOPT, CheckpointFile
from minivault.vault.copies import require_same_copies
from minivault.vault.private_file import Folder, sync, write_whole
from minivault.vault.record import link
from minivault.vault.retention import Rotation, require_following
from minivault.vault.segments import NAME, lines_after, lines_backwards, place, segments
from minivault.vault.signing import BadCheckpoint, Signer
from minivault.vault.torn import cut, cut_torn_tail
from minivault.vault.tree.log_tree import LogTree

logger = logging.getLogger(__name__)


class Log:
    """`log.jsonl` and its head. Every method is called with the folder's lock held.

    `redacted` collects the numbers of records whose redaction other processes told.
    """

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
        self._last = b""  # the newest line, if it is in this file: it must stay as we know it
        self._checkpointed = -1
        self.head = Head()
        self.checkpoint = CheckpointFile(folder, signer)
        self.tree = LogTree(folder.path, signer, fsync=fsync)
        self.redacted: list[int] = []

    @property
    def seq(self) -> int:
        return self.head.seq

    def open(self) -> None:
        """Repairs the file's tail and checks it. Raises ChainBroken, BadCheckpoint, OSError."""
        is_known = self.checkpoint.open()
        require_same_copies(self._folder.path)
        self._fd = self._folder.append(NAME)
        cut_torn_tail(self._folder, self._fd, self.checkpoint.known.seq)
        self._follow(self.checkpoint.head, is_sure=self._signer is not None)
        if self._signer and self.seq and not is_known:
            raise BadCheckpoint(f"it holds records that were never signed with this key; {ADOPT}")
        self.tree.open(self.seq)
        if not is_known:
            self.write_checkpoint()
        if self.checkpoint.is_left_alone:
            logger.warning(
                "the log's checkpoint is signed, and no signing key is given: it stays at record"
                " %d, and no old files are removed",
                self.checkpoint.known.seq,
            )

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
        head = self.head
        lines: list[bytes] = []
        receipts: list[Receipt] = []
        for body in bodies:
            line = body + link(head.seq + 1, head.hash, head.redacted)
            head = Head.of(line)
            lines.append(line + b"\n")
            receipts.append(Receipt(seq=head.seq, hash=head.hash))
        data = b"".join(lines)
        if self._end and self._end + len(data) > self._rotation.max_bytes:
            self._rotate()
        write_whole(self._fd, data, self._end)
        if self._fsync:
            sync(self._fd)
        self._end += len(data)
        self._last, self.head = lines[-1], head
        self.tree.saw(receipts[0].seq, [bytes.fromhex(each.hash) for each in receipts])
        return receipts

    def catch_up(self) -> None:
        """Reads what other processes wrote; notices a file that was rotated or replaced."""
        here, there = os.fstat(self._fd), self._folder.stat(NAME)
        moved = there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)
        if here.st_size < self._end:
            raise LogUnavailable("the log became shorter: somebody cut it while it was in use")
        length = len(self._last)
        if os.pread(self._fd, length, self._end - length) != self._last:  # an editor was at work
            reason = f"something else changed record {self.seq} while it was in use"
            raise LogUnavailable(f"{reason}; put the file back as it was")
        if here.st_size > self._end:
            self._read_on(here.st_size)
        if moved:
            self._reopen()

    def has_news(self) -> bool:
        """Whether somebody else wrote or moved the file."""
        here, there = os.fstat(self._fd), self._folder.stat(NAME)
        return there is None or here.st_ino != there.st_ino or here.st_size != self._end

    def remove_old(self) -> None:
        """Removes the files that the retention rules give up, and says so in the checkpoint."""
        if self.checkpoint.is_left_alone:
            return
        files = segments(self._folder.path)
        removed = self._rotation.given_up(files)
        if not removed:
            return
        try:
            newest = require_following(self.checkpoint.beginning(self.head), removed)
            kept = files[len(removed) :][:1]
            require_following(newest, kept)
            self._grow_tree()
        except ChainBroken as error:
            logger.warning(
                "no old files of the log are removed: %s (minivault logs verify says more, and"
                " repair or adopt bring the log back to work)",
                error,
            )
            return
        if self.tree.seq < newest.seq:
            return  # their records are not in the tree yet; it is asked for again
        self.checkpoint.begin_at(newest.seq + 1, newest.hash, self.head)
        for segment in removed:
            self._folder.remove(segment.name)
        self._folder.sync()

    def write_checkpoint(self) -> None:
        """Keeps the head beside the log (after the log's sync, which `append` did)."""
        self.checkpoint.write(self.head)
        self._checkpointed = self.seq
        with contextlib.suppress(OSError):  # what is made from the log can wait
            self._grow_tree()

    @property
    def is_checkpointed(self) -> bool:
        """Whether all that is made from the log has its newest record."""
        is_stuck = self.checkpoint.is_left_alone or self.tree.is_left_alone or self.tree.problem
        is_tree_behind = not is_stuck and self.tree.seq < self.seq
        return self._checkpointed == self.seq and not is_tree_behind

    def _grow_tree(self) -> None:
        """Raises LogUnavailable if the tree is another log's, OSError if it cannot be written."""
        if self.checkpoint.is_left_alone:
            return
        try:
            self.tree.follow(self.seq, self.checkpoint.known.origin)
        except (BadCheckpoint, ChainBroken) as error:
            raise LogUnavailable(f"something else wrote the log's tree: {error}") from error

    def salts_after(self, seq: int) -> set[bytes]:
        """The salts of all records that came after record `seq`, as they stand in their lines."""
        found: set[bytes] = set()
        for line in lines_after(self._folder.path, seq):
            at = line.rfind(b',"salt":"')
            if at >= 0:
                found.add(line[at + 9 : line.find(b'"', at + 9)])
        return found

    def _read_on(self, size: int) -> None:
        """Follows the chain over what others appended; half a line is one whose writer died."""
        data = os.pread(self._fd, size - self._end, self._end)
        whole = data[: data.rfind(b"\n") + 1]
        chain = Chain(head=self.head, judge=self.checkpoint.judge)
        try:
            chain.walk(BytesIO(whole), NAME)
            chain.finish()
        except ChainBroken as error:
            what = f"after record {self.seq}, {error.reason}"
            raise LogUnavailable(f"the log was changed by something else: {what}") from error
        self._take(chain)
        self._end += len(whole)
        if len(whole) < len(data):
            cut(self._folder, self._fd, self._end)
        self._remember_last()

    def _reopen(self) -> None:
        """The name belongs to another file now: rotated by us or by logrotate, or redacted."""
        before, self._fd = self._fd, self._folder.append(NAME)
        try:
            cut_torn_tail(self._folder, self._fd, self.checkpoint.known.seq)
            self._follow(self.head, is_sure=True)
        except (ChainBroken, OSError) as error:
            os.close(self._fd)
            self._fd = before
            if isinstance(error, OSError):
                raise
            raise LogUnavailable(f"the log was replaced by another one: {error}") from error
        os.close(before)

    def _follow(self, known: Head, *, is_sure: bool) -> None:
        """Checks what is on the disk from a known record on, and takes its end as the head.

        Raises ChainBroken if it does not go through that record, or if it `is_sure` that it
        must and that cannot be seen.
        """
        files = segments(self._folder.path)
        start = max((n for n, each in enumerate(files) if each.first <= known.seq), default=0)
        chain = Chain(watched={known.seq: None}, judge=self.checkpoint.judge)
        for segment in files[start:]:
            chain.walk_segment(segment)
        self._require_known(chain, known, is_sure=is_sure)
        chain.finish()
        self.head = known
        self._take(chain)
        self._end = os.fstat(self._fd).st_size
        self._remember_last()

    def _require_known(self, chain: Chain, known: Head, *, is_sure: bool) -> None:
        if chain.head is None or known.seq == 0:
            return
        if chain.seq < known.seq:
            reason = f"the checkpoint knows record {known.seq}: the tail was cut"
            raise ChainBroken(NAME, chain.seq - chain.first + 1, reason)
        found = chain.watched[known.seq]
        digest = found.hash if found else chain.base if chain.first == known.seq + 1 else None
        if digest is None and is_sure:
            reason = f"record {known.seq}, which it must go on from, is not there"
            raise ChainBroken(NAME, 0, reason)
        changed = found and known.redacted not in (None, found.redacted)
        if digest not in (None, known.hash) or changed:
            reason = f"record {known.seq} is not the one of the checkpoint"
            raise ChainBroken(NAME, known.seq - chain.first + 1, reason)

    def _take(self, chain: Chain) -> None:
        self.redacted += [each.target for each in chain.told.values() if each.seq > self.seq]
        self.head = chain.head or self.head

    def _remember_last(self) -> None:
        found = next(lines_backwards(self._fd, self._end), None)
        self._last = found[1] + b"\n" if found else b""

    def _rotate(self) -> None:
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            first = place(file.readline().rstrip(b"\n"))[0] or self.seq + 1
        name = f"log-{first:012d}.jsonl"
        if self._folder.stat(name):
            raise FileExistsError(errno.EEXIST, f"{name} is there already")
        self._folder.rename(NAME, name)
        descriptor = self._folder.append(NAME)
        os.close(self._fd)
        self._fd = descriptor
        self._end, self._last = 0, b""
        with contextlib.suppress(OSError):  # the records come first; it is tried again
            self.remove_old()
