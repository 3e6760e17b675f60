"""Shipping: what the log's tree and the log have, and the buckets have not yet.

First the texts, then the tiles, then the checkpoint: one that is published has all behind it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken, FieldError, InvalidRequest
from minivault.vault.chain import told_by
from minivault.vault.private_file import try_lock
from minivault.vault.publishing.bucket import Bucket, FolderBucket, is_same, open_bucket
from minivault.vault.publishing.texts import MOST_BYTES, MOST_LINES, Texts, entry_of
from minivault.vault.publishing.tile_log import Forked, Overtaken, TileLog
from minivault.vault.reader import Reader
from minivault.vault.redacted import was_of
from minivault.vault.segments import place
from minivault.vault.signing import BadCheckpoint, Signer
from minivault.vault.tree.folder import NAME, SHIPPED, TreeFolder
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import head_of
from minivault.vault.tree.tiles import DamagedTiles, Tiles

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

logger = logging.getLogger("minivault")

WRITERS = "writers"
_NAMED = r"[0-9A-Za-z_-]{1,64}/tree-from-[1-9]\d{0,17}"
_ORIGIN = re.compile(f"minivault/({_NAMED})")
FOLDER = re.compile(f"{WRITERS}/{_NAMED}")
_LOCK = ".shipping"
_REMOVED = (
    "records %d to %d were removed unshipped; if one of them told of a redaction, "
    "the bucket may still have that text"
)


def folder_of(origin: str) -> str:
    """Where the tree of a log lies in a bucket. Raises BadCheckpoint for a strange name."""
    found = _ORIGIN.fullmatch(origin)
    if not found:
        raise BadCheckpoint(f"the tree {origin} is not one over the records of a log")
    return f"{WRITERS}/{found[1]}"


def shipped(logs: Path) -> TreeHead | None:
    """The newest checkpoint that was shipped, as was noted here. Raises BadCheckpoint, OSError."""
    try:
        return TreeHead.parse(TreeFolder(logs).get(SHIPPED))
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Shipping:
    """Ships the log in a folder, of which the key has signed the tree; any thread."""

    logs: Path
    key: Ed25519PublicKey
    hashes: Bucket
    texts: Bucket | None = None

    @classmethod
    def opened(
        cls,
        logs: Path,
        signing_key: Path,
        hashes: str,
        texts: str | None = None,
        credentials: Path | None = None,
    ) -> Shipping:
        """Of buckets by their addresses. Raises CannotStart, InvalidRequest."""
        made = open_bucket(hashes, credentials)
        other = open_bucket(texts, credentials) if texts else None
        if other and is_same(made, other):
            why = "must be another bucket than that of the hashes, in which nothing can be erased"
            raise InvalidRequest([FieldError("ship_texts", why)])
        key = Signer.load(signing_key).public_key
        return cls(logs, key, made, other)

    @property
    def is_remote(self) -> bool:
        """Whether it opens connections."""
        buckets = filter(None, (self.hashes, self.texts))
        return not all(isinstance(each, FolderBucket) for each in buckets)

    def ship(self) -> TreeHead | None:
        """Publishes all that the tree has by now; returns its head, None if others ship now.

        Raises Away; Forked if what is published is not a beginning of this log; NotFound while
        there is no tree; BadCheckpoint, ChainBroken, Overtaken, OSError.
        """
        with _alone(self.logs) as is_alone:
            if not is_alone:
                return None
            head = self._ship()
            with suppress(BadCheckpoint):
                if shipped(self.logs) == head:
                    return head
            TreeFolder(self.logs).publish(head.note, SHIPPED)
        return head

    def _ship(self) -> TreeHead:
        origin = head_of(self.logs).origin
        log = TileLog(self.hashes, folder_of(origin), [self.key])
        head = head_of(self.logs)  # after what is published: it is not older than that
        if head.origin != origin:
            raise Overtaken(f"the log's tree got another name: {head.origin}")
        head.require_signed(self.key)
        tiles = Tiles(head.size, TreeFolder(self.logs).get)
        try:
            _require_beginning(log, head, tiles)
            if log.size < head.size:
                if self.texts:
                    self._ship_texts(Texts(self.texts, log.folder), tiles, head, log.size)
                log.extend(head, tiles.entries_from)
        except DamagedTiles as error:
            raise ChainBroken(NAME, 0, f"the tree is damaged: {error}") from error
        return head

    def _ship_texts(self, texts: Texts, tiles: Tiles, head: TreeHead, old: int) -> None:
        told: set[int] = set()
        seq = head.first + old
        redacted: set[int] = set()
        for lines in _batches(Reader(self.logs), seq - 1, head.last):
            if (first := place(lines[0])[0]) > seq:
                logger.warning(_REMOVED, seq, first - 1)
            known = chain.from_iterable(tiles.entries_from(first - head.first))
            for number, (line, entry) in enumerate(zip(lines, known, strict=False), first):
                if place(line)[0] != number or entry_of(line) != entry:
                    raise ChainBroken(NAME, 0, f"it has another record {number} than the log")
            done = 0
            while done < len(lines):
                done += texts.put(lines[done:])
            told |= {each.target for each in map(told_by, lines) if each}
            redacted |= {place(each)[0] for each in lines if was_of(each)}
            seq = place(lines[-1])[0] + 1
        if redacted - told:
            raise Overtaken("a record was redacted just now; the tree does not know that yet")
        texts.erase(told)


def _require_beginning(log: TileLog, head: TreeHead, tiles: Tiles) -> None:
    """Raises Forked unless the tree begins with what is published."""
    if log.head is None:
        return
    if log.head.origin != head.origin:
        raise Forked(f"{log.where} is the log {log.head.origin}, not {head.origin}")
    if log.size > head.size:
        told = f"{log.size} records are published, and here are {head.size}"
        raise Forked(f"{log.where}: {told}: the log was cut, or is an old copy")
    if tiles.root(log.size) != log.head.root:
        raise Forked(f"{log.where}: the {log.size} records that are published are others than here")


def _batches(reader: Reader, after: int, last: int) -> Iterator[list[bytes]]:
    """The lines of the records from `after` to `last`, a few at a time."""
    lines: list[bytes] = []
    size = 0
    for line in reader.forwards(after):
        if place(line)[0] > last:
            break
        if len(lines) == MOST_LINES or size > MOST_BYTES:
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield lines


@contextmanager
def _alone(logs: Path) -> Iterator[bool]:
    """Of several servers on one folder one ships; whether this is the one."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(logs / _LOCK, flags, 0o600)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)
