"""Whether a tree is that of a log: made again from the lines, tile by tile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken
from minivault.vault.signing import BadCheckpoint
from minivault.vault.tree.folder import CHECKPOINT, NAME, TreeFolder
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.tiles import WIDTH, DamagedTiles, Edge, Tiles, read_tile

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Comparison:
    """Hears of all lines of a log in their order; at the end of them the tree must be their tree.

    Records that the log has no longer are taken from the tree itself: its root is over them too.
    """

    def __init__(self, logs: Path, key: Ed25519PublicKey | None = None) -> None:
        """Raises BadCheckpoint, also for a tree that is not signed with the key."""
        self._files = TreeFolder(logs)
        try:
            note = self._files.checkpoint()
        except OSError as error:
            raise BadCheckpoint(f"{NAME}/{CHECKPOINT} cannot be read: {error.strerror}") from error
        self.head = TreeHead.parse(note) if note is not None else None
        if self.head and key:
            self.head.require_signed(key)
        self._first = self.head.first if self.head else 0
        self._edge = Edge(self._require)
        self._damage: DamagedTiles | None = None

    def hear(self, first: int, hashes: list[str]) -> None:
        """Some lines: the number of the first record, and the hashes that the chain names."""
        if self.head is None or self._damage:
            return
        try:
            if self._edge.size == 0 and first > self._first:
                removed = min(first, self.head.last + 1) - self._first
                tiles = Tiles(self.head.size, self._files.get)
                while removed > self._edge.size:
                    entries = tiles.entries(self._edge.size // WIDTH)
                    self._edge.append(entries[: removed - self._edge.size])
            skipped = max(0, self._first - first)
            missing = self.head.size - self._edge.size
            self._edge.append([bytes.fromhex(each) for each in hashes[skipped:][:missing]])
        except DamagedTiles as error:  # what is wrong with the log itself says more
            self._damage = error

    def finish(self) -> TreeHead | None:
        """The tree that was compared; None if there is none. Raises ChainBroken."""
        if self.head is None:
            return None
        try:
            if self._damage:
                raise self._damage
            if self._edge.size < self.head.size:
                last = self._first + self._edge.size - 1
                missing = f"records {last + 1} to {self.head.last} of the tree are missing"
                raise ChainBroken(NAME, 0, f"the end of the log is cut: {missing}")
            self._edge.seal()
        except DamagedTiles as error:
            raise ChainBroken(NAME, 0, f"the tree is damaged, or another log's: {error}") from error
        if self._edge.root != self.head.root:
            raise ChainBroken(f"{NAME}/{CHECKPOINT}", 0, "it has another root than the log")
        return self.head

    def _require(self, path: str, data: bytes) -> None:
        if read_tile(self._files.get, path, len(data)) != data:
            raise DamagedTiles(f"{path} is not made of the log's records")
