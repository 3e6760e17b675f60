"""A transparency log in a bucket: tiles that are made once, a checkpoint that is exchanged.

The bucket is the only state: whoever goes on reads what is published there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from minivault.errors import MiniVaultError
from minivault.vault.publishing.bucket import Bucket, Taken, TooLarge
from minivault.vault.signing import BadCheckpoint
from minivault.vault.tree.folder import CHECKPOINT
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.tiles import DamagedTiles, Edge, Put, Tiles, edge_paths

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_NOTE = 2**14  # bytes of a checkpoint: an entry of the fleet's log has less than 2**16
_MOST_TILE = 2**25  # 256 entries of the longest are half of it

#: The entries of a log from the n-th on, a few at a time.
Entries = Callable[[int], Iterable[Sequence[bytes]]]


class Forked(MiniVaultError):
    """What is published is not a beginning of what is here: somebody rewrote one of the two."""

    title = "Forked log"


class Overtaken(MiniVaultError):
    """Another one published at the same time; what is there is to be read again."""

    title = "Overtaken"


class TileLog:
    """The log under `folder` of a bucket, as it was when this was made.

    Raises Away; BadCheckpoint for one that is not signed with one of the keys, if there are any,
    and for one that is too long to be a checkpoint.
    """

    def __init__(self, bucket: Bucket, folder: str, keys: Sequence[Ed25519PublicKey] = ()) -> None:
        self.folder = folder
        self._bucket = bucket
        self.head: TreeHead | None = None
        self._version = ""
        try:
            note, self._version = bucket.read(f"{folder}/{CHECKPOINT}", MOST_NOTE)
        except FileNotFoundError:
            return
        except TooLarge as error:
            raise BadCheckpoint(f"the checkpoint is too long: {error}") from error
        self.head = TreeHead.parse(note)
        require_signed(self.head, keys)

    @property
    def size(self) -> int:
        return self.head.size if self.head else 0

    @property
    def where(self) -> str:
        """For people."""
        return f"{self._bucket.url}/{self.folder}"

    def get(self, path: str) -> bytes:
        """A tile. Raises FileNotFoundError, Away; DamagedTiles for what is too large for one."""
        try:
            return self._bucket.read(f"{self.folder}/{path}", _MOST_TILE)[0]
        except TooLarge as error:
            raise DamagedTiles(str(error)) from error

    def checkpoint(self) -> bytes | None:
        return self.head.note if self.head else None

    def tiles(self) -> Tiles:
        return Tiles(self.size, self.get)

    def extend(self, head: TreeHead, entries: Entries) -> None:
        """Publishes a newer checkpoint, and before it the tiles that it needs.

        Nothing is put before it is known that the entries make the checkpoint's root: what is in a
        locked bucket stays there. Raises Forked, Overtaken.
        """
        try:
            there = {path: self.get(path) for path in edge_paths(self.size)}
        except FileNotFoundError as error:
            raise Forked(f"{self.where}: a tile of what is published is gone: {error}") from error
        except DamagedTiles as error:
            raise Forked(f"{self.where}: {error}") from error
        for put in (lambda path, data: None, self._put):
            edge = self._edge(there, put)
            for some in entries(self.size):
                edge.append(some)
            if (edge.size, edge.root) != (head.size, head.root):
                raise Forked(f"{self.where}: the log here did not grow from what is published")
        edge.seal()
        self._publish(head)

    def _edge(self, there: dict[str, bytes], put: Put) -> Edge:
        try:
            edge = Edge.load(self.size, there.__getitem__, put)
        except DamagedTiles as error:
            raise Forked(f"{self.where}: {error}") from error
        if self.head and edge.root != self.head.root:
            raise Forked(f"{self.where}: the published tiles do not make the published root")
        return edge

    def _put(self, path: str, data: bytes) -> None:
        try:
            self._bucket.create(f"{self.folder}/{path}", data)
        except Taken:  # by whoever was here before us and came to no checkpoint
            with contextlib.suppress(DamagedTiles):
                if self.get(path) == data:
                    return
            raise Forked(f"{self.where}/{path} is there already, and is another") from None

    def _publish(self, head: TreeHead) -> None:
        path = f"{self.folder}/{CHECKPOINT}"
        try:
            if self.head is None:
                self._version = self._bucket.create(path, head.note)
            else:
                self._version = self._bucket.swap(path, head.note, self._version)
        except Taken:
            note, self._version = self._bucket.read(path, MOST_NOTE)
            if note != head.note:  # else the answer to our own put was lost on its way
                raise Overtaken(f"{self.where}: another one published meanwhile") from None
        self.head = head


def require_signed(head: TreeHead, keys: Sequence[Ed25519PublicKey]) -> None:
    """Raises BadCheckpoint unless one of the keys signed it; without keys nothing is asked."""
    for key in keys:
        with contextlib.suppress(BadCheckpoint):
            return head.require_signed(key)
    if keys:
        raise BadCheckpoint(f"the checkpoint of {head.origin} is not signed with a key given")
