"""The tree of one log: grows behind it, and is made again from it if it is lost."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from itertools import islice
from pathlib import Path

from minivault.errors import ChainBroken
from minivault.vault.chain import Chain, Head
from minivault.vault.reader import Reader
from minivault.vault.segments import ASIDE, NAME, place, segments
from minivault.vault.signing import BadCheckpoint, Signer
from minivault.vault.tree import folder
from minivault.vault.tree.folder import TreeFolder
from minivault.vault.tree.head import TreeHead, origin_of
from minivault.vault.tree.tiles import WIDTH, DamagedTiles, Edge, Tiles

logger = logging.getLogger(__name__)

STEP = 2_000  # records read from the log at once: whoever waits for the writer waits for them
_AHEAD = 100_000  # hashes kept in memory until the tree has them
_FILE = f"{folder.NAME}/{folder.CHECKPOINT}"
_ADOPT = (
    "look at it with minivault logs verify; if it is yours, minivault logs adopt vouches for it"
)


class LogTree:
    """Every method is called with the log's lock held. Raises OSError.

    Whoever signs goes on only from a tree that was signed; whoever has no key leaves a signed tree
    as it is. A tree that is another log's raises ChainBroken, one that cannot be read or is signed
    with another key BadCheckpoint.
    """

    def __init__(self, logs: Path, signer: Signer | None = None, *, fsync: bool = True) -> None:
        self._logs = logs
        self._signer = signer
        self._files = TreeFolder(logs, fsync=fsync)
        self._note: bytes | None = None  # the checkpoint as we know it
        self._published: TreeHead | None = None
        self._wrong: _Contradiction | None = None  # why what is published cannot be this log's
        self._first = 0  # the record that is its first entry; 0 while that is not known
        self._edge = Edge(self._put)
        self._newest = b""  # the last entry
        self._sealed = 0  # the newest record of which the partial tiles are there
        self._full: list[str] = []  # tiles that were completed since
        self._ahead: list[bytes] = []  # the hashes of records that the tree may not have yet
        self._ahead_from = 0  # the first of them
        self.problem: str | None = None

    @property
    def seq(self) -> int:
        """The newest record in the tree that is published; 0 if there is none."""
        return self._published.last if self._published else 0

    @property
    def is_left_alone(self) -> bool:
        """Whether it is signed with a key that we do not have."""
        return bool(self._published and self._published.is_signed and self._signer is None)

    def open(self, seq: int) -> None:
        """Reads it, for a log that has the records up to `seq`."""
        self._take_over()
        if self.seq > seq:
            reason = f"it knows record {self.seq}: the log's tail was cut ({_ADOPT})"
            raise ChainBroken(_FILE, 0, reason)

    def saw(self, first: int, hashes: list[bytes]) -> None:
        """Tells of records that were just written, so that they need not be read again."""
        if first != self._ahead_from + len(self._ahead) or len(self._ahead) > _AHEAD:
            self._ahead, self._ahead_from = [], first
        self._ahead += hashes

    def follow(self, seq: int, log: str, *, at_most: int = STEP) -> None:
        """Takes in the records up to `seq`, of those that must be read at most so many; publishes.

        `log` is the log's name, for a tree that begins. What keeps it from growing is its
        `problem`.
        """
        self._take_over()
        if self.is_left_alone or self.seq >= seq == self._sealed:
            return
        try:
            problem = self._grow(seq, at_most)
            self._publish(log)
        except OSError:
            self._note = b""  # what is in memory may be half of something: it is read again
            raise
        except _Contradiction as error:
            self._wrong = error
            raise
        if problem and problem != self.problem:
            logger.warning("the log's tree cannot grow: %s", problem)
        self.problem = problem

    def adopt(self, seq: int) -> bool:
        """Vouches for the tree that is there if it is one of this log with records up to `seq`.

        Another one is set aside. Returns whether nothing was.
        """
        note = self._files.checkpoint()
        if note is None:
            return True
        try:
            head = TreeHead.parse(note)
            self._load(head)
            if head.last > seq:
                raise _Contradiction(head.last)
        except (BadCheckpoint, DamagedTiles, ChainBroken):
            self._set_aside()
            return False
        self._files.publish(head.signed(self._signer).note)
        return True

    def _take_over(self) -> None:
        """Another process may have published, or somebody removed it."""
        note = self._files.checkpoint()
        if note == self._note and self._wrong:
            raise self._wrong
        if note == self._note:
            return
        self._note, self._published, self._wrong = note, None, None
        self._begin(0)
        if note is None:
            return
        try:
            head = TreeHead.parse(note)
            if self._signer:
                head.require_signed(self._signer.public_key)
            self._first = head.first
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{_FILE}: {error} ({_ADOPT})") from error
        self._published = head
        try:
            self._load(head)
        except _Contradiction as error:
            self._wrong = error
            raise
        except DamagedTiles as error:
            logger.warning("the log's tree is damaged (%s): it is made again", error)
            self._begin(head.first)

    def _begin(self, first: int) -> None:
        self._first, self._edge, self._newest = first, Edge(self._put), b""
        self._sealed = 0
        self._full = []

    def _load(self, head: TreeHead) -> None:
        """Raises DamagedTiles, and _Contradiction if its newest entry is not the log's record."""
        self._edge = Edge.load(head.size, self._files.get, self._put)
        if self._edge.root != head.root:
            raise DamagedTiles("its edge does not make its root")
        if head.size:
            tiles = Tiles(head.size, self._files.get)
            self._newest = tiles.entries((head.size - 1) // WIDTH)[-1]
            line = next(Reader(self._logs).lines_backwards(head.last + 1), None)
            found = Head.of(line) if line else Head()
            if found.seq == head.last and found.hash != self._newest.hex():
                raise _Contradiction(head.last)
        self._sealed = head.last

    def _grow(self, seq: int, at_most: int) -> str | None:
        """Returns what is in its way."""
        self._first = self._first or _first(self._logs)
        while (following := self._first + self._edge.size) <= seq:
            entries = self._ahead[max(0, following - self._ahead_from) :]
            if following < self._ahead_from or not entries:
                if at_most <= 0:
                    return None
                try:
                    entries = self._read(following, min(seq + 1 - following, at_most))
                except ChainBroken as error:
                    return str(error)
                at_most -= len(entries)
            self._append(entries)
        self._ahead, self._ahead_from = [], seq + 1
        return None

    def _read(self, following: int, count: int) -> list[bytes]:
        """The hashes of the records from `following` on, checked as the chain is; from the old
        tiles where the log has them no longer. Raises ChainBroken."""
        lines = list(islice(Reader(self._logs).forwards(following - 1), count))
        if not lines or place(lines[0])[0] != following:
            return self._from_tiles(following)
        hashes: list[bytes] = []
        before = Head(following - 1, self._newest.hex(), None) if self._newest else None
        chain = Chain(before, on_hashes=lambda _, found: hashes.extend(map(bytes.fromhex, found)))
        chain.walk(BytesIO(b"\n".join(lines) + b"\n"), NAME)
        return hashes

    def _from_tiles(self, following: int) -> list[bytes]:
        number, at = divmod(self._edge.size, WIDTH)
        size = self._published.size if self._published else 0
        try:
            if self._edge.size >= size:
                raise DamagedTiles(f"the log no longer has record {following}")
            return Tiles(size, self._files.get).entries(number)[at:]
        except DamagedTiles as error:
            first = _first(self._logs)
            if self._first == first:
                raise ChainBroken(NAME, 0, f"there is no record {following}") from error
            logger.warning("the log's tree cannot go on (%s): a new one begins", error)
            self._set_aside()
            self._first = first
            return []

    def _set_aside(self) -> None:
        self._files.set_aside(f"{ASIDE}{time.time_ns()}-{folder.NAME}")
        self._note = self._published = None
        self._begin(0)

    def _append(self, entries: list[bytes]) -> None:
        """Raises _Contradiction if what is made again is not what was published."""
        known = self._published
        if known and self._edge.size < known.size:
            missing = known.size - self._edge.size
            again, entries = entries[:missing], entries[missing:]
            self._edge.append(again)
            self._newest = again[-1]
            if self._edge.size == known.size and self._edge.root != known.root:
                raise _Contradiction(known.last)
        self._edge.append(entries)
        self._newest = entries[-1] if entries else self._newest

    def _publish(self, log: str) -> None:
        known = self._published.size if self._published else 0
        last = self._first + self._edge.size - 1
        if self._edge.size < known or last == self._sealed:
            return
        self._edge.seal()
        self._sealed = last
        if self._edge.size > known:
            origin = self._published.origin if self._published else origin_of(log, self._first)
            head = TreeHead(origin, self._edge.size, self._edge.root).signed(self._signer)
            self._files.publish(head.note)
            self._note, self._published = head.note, head
        full, self._full = self._full, []
        for path in full:
            self._files.remove_partial(path)

    def _put(self, path: str, data: bytes) -> None:
        self._files.put(path, data)
        if ".p/" not in path:
            self._full.append(path)


class _Contradiction(ChainBroken):
    """The tree and the log tell of different records."""

    def __init__(self, seq: int) -> None:
        super().__init__(_FILE, 0, f"it has another record {seq} than the log ({_ADOPT})")


def _first(logs: Path) -> int:
    return next((each.first for each in segments(logs) if each.first), 1)
