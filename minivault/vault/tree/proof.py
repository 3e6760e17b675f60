"""A proof in one file: that a record stands in a log, or that one tree grew from another.

The first is a C2SP tlog-proof whose `extra` line is the record's line, or its hash in hexadecimal;
the second is what a witness is sent (C2SP tlog-witness, add-checkpoint). Neither needs the log.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken, MiniVaultError, NotFound
from minivault.merkle import grew, includes
from minivault.vault.reader import Reader
from minivault.vault.record import Record
from minivault.vault.segments import place
from minivault.vault.tree.folder import NAME, WITNESSED, TreeFolder
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.tiles import WIDTH, DamagedTiles, Tiles

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = "c2sp.org/tlog-proof@v1"
_NUMBER = r"(0|[1-9]\d{0,17})"
_HASHES = r"(?P<hashes>([A-Za-z0-9+/]{43}=\n){0,63})"
_INCLUSION = re.compile(
    rf"{re.escape(MAGIC)}\nextra (?P<extra>[A-Za-z0-9+/]+={{0,2}})\n"
    rf"index (?P<index>{_NUMBER})\n{_HASHES}\n"
)
_GROWTH = re.compile(rf"old (?P<old>{_NUMBER})\n{_HASHES}\n")
_DIGEST = re.compile(rb"[0-9a-f]{64}")


class BadProof(MiniVaultError):
    """A file that is no proof, or proves nothing."""

    title = "Bad proof"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a record stands at `index` of a tree. `line` is None where only its hash is told."""

    line: bytes | None
    digest: str
    index: int
    hashes: Sequence[bytes]
    head: TreeHead

    @classmethod
    def parse(cls, data: bytes) -> Inclusion:
        """Reads a file; nothing is checked yet but its form. Raises BadProof, BadCheckpoint."""
        found = _INCLUSION.match(_text(data))
        if not found:
            raise BadProof("this is no proof of a record (it does not have the form of one)")
        extra = _decoded(found["extra"])
        line = None if _DIGEST.fullmatch(extra) else extra
        digest = hashlib.sha256(extra).hexdigest() if line else extra.decode()
        head = TreeHead.parse(_text(data)[found.end() :].encode())
        return cls(line, digest, int(found["index"]), _hashes(found["hashes"]), head)

    def dump(self) -> bytes:
        extra = base64.b64encode(self.line or self.digest.encode()).decode()
        lines = [MAGIC, f"extra {extra}", f"index {self.index}", *_lines(self.hashes), ""]
        return "\n".join(lines).encode() + b"\n" + self.head.note

    @property
    def seq(self) -> int:
        """The record's number. Raises BadCheckpoint for a tree that is no log's."""
        return self.head.first + self.index

    @property
    def record(self) -> Record | None:
        """None where only its hash is told. Raises ChainBroken for a line that is no record."""
        return Record.parse(self.line) if self.line else None

    @property
    def told_record(self) -> Record:
        """As `record`. Raises BadProof where there is none."""
        if (record := self.record) is None:
            raise BadProof("the proof has the hash of a record, and not the record")
        return record

    def require(self, key: Ed25519PublicKey | None) -> None:
        """Raises BadProof unless it proves its record, and BadCheckpoint for another's signature.

        Without a key it is only as good as the checkpoint in it.
        """
        if key:
            self.head.require_signed(key)
        entry = bytes.fromhex(self.digest)
        if not includes(self.head.root, self.head.size, self.index, entry, self.hashes):
            raise BadProof("the proof is wrong: this record does not stand there in this tree")
        if self.line and place(self.line)[0] != self.seq:
            raise BadProof("the proof is wrong: the line has another number than its place")


@dataclass(frozen=True, slots=True)
class Growth:
    """That a tree grew from the one of `old` entries."""

    old: int
    hashes: Sequence[bytes]
    head: TreeHead

    @classmethod
    def parse(cls, data: bytes) -> Growth:
        """Reads a file; nothing is checked yet but its form. Raises BadProof, BadCheckpoint."""
        found = _GROWTH.match(_text(data))
        if not found:
            raise BadProof("this is no proof of growth (it does not have the form of one)")
        head = TreeHead.parse(_text(data)[found.end() :].encode())
        return cls(int(found["old"]), _hashes(found["hashes"]), head)

    def dump(self) -> bytes:
        lines = [f"old {self.old}", *_lines(self.hashes), ""]
        return "\n".join(lines).encode() + b"\n" + self.head.note

    def require(self, old: TreeHead, key: Ed25519PublicKey | None) -> None:
        """Raises BadProof unless it proves that its tree grew from `old`, and BadCheckpoint."""
        if key:
            old.require_signed(key)
            self.head.require_signed(key)
        if old.origin != self.head.origin:
            raise BadProof(f"they are two logs: {old.origin} and {self.head.origin}")
        if self.old != old.size:
            raise BadProof(f"it proves growth from {self.old} records, not from {old.size}")
        if not grew(old.root, old.size, self.head.root, self.head.size, self.hashes):
            raise BadProof("the proof is wrong: the one tree did not grow from the other")


def head_of(logs: Path) -> TreeHead:
    """The newest checkpoint of a log's tree. Raises NotFound, BadCheckpoint, OSError."""
    note = TreeFolder(logs).checkpoint()
    if note is None:
        raise NotFound("the log has no tree yet; a server makes one, or minivault logs adopt")
    return TreeHead.parse(note)


def witnessed(logs: Path) -> TreeHead | None:
    """The newest tree that a witness signed, as it was kept. Raises BadCheckpoint, OSError."""
    try:
        return TreeHead.parse(TreeFolder(logs).get(WITNESSED))
    except FileNotFoundError:
        return None


def prove(logs: Path, seq: int, *, hash_only: bool = False) -> Inclusion:
    """The proof of a record, out of the tree as a witness saw it last, else as it is now.

    Of one that was redacted, or that retention removed, only the hash is left to tell. Raises
    NotFound for a record that is not in the tree, ChainBroken for a tree that is damaged.
    """
    head = head_of(logs)
    if not head.first <= seq <= head.last:
        there = f"the tree has the records {head.first} to {head.last}"
        later = "; a newer one is in it within a second" if seq > head.last else ""
        raise NotFound(f"{there}, not {seq}{later}")
    tiles, index = Tiles(head.size, TreeFolder(logs).get), seq - head.first
    seen = witnessed(logs)
    if seen and seen.origin == head.origin and index < seen.size <= head.size:
        head = seen  # a little older, and others have seen it
    line = None if hash_only else next(Reader(logs).lines_backwards(seq + 1), b"")
    if line is not None and (place(line)[0] != seq or b'"redacted":{' in line[:60]):
        line = None
    try:
        entry = tiles.entries(index // WIDTH)[index % WIDTH]
        proof = Inclusion(line, entry.hex(), index, tiles.inclusion(index, head.size), head)
        if line and hashlib.sha256(line).digest() != entry:
            raise DamagedTiles(f"it has another record {seq} than the log")
        proof.require(None)
    except (DamagedTiles, BadProof) as error:
        raise ChainBroken(NAME, 0, f"the tree is damaged: {error}") from error
    return proof


def prove_growth(logs: Path, old: TreeHead, new: TreeHead | None = None) -> Growth:
    """That the tree of `new`, or the log's newest one, grew from that of `old`.

    Raises BadProof if it did not, ChainBroken for a tree that is damaged.
    """
    own = head_of(logs)
    new = new or own
    for each in (old, new):
        if each.origin != own.origin or each.size > own.size:
            raise BadProof(f"the log has no tree of {each.size} records of {each.origin}")
    tiles = Tiles(own.size, TreeFolder(logs).get)
    try:
        growth = Growth(old.size, tiles.consistency(old.size, new.size), new)
    except DamagedTiles as error:
        raise ChainBroken(NAME, 0, f"the tree is damaged: {error}") from error
    growth.require(old, None)
    return growth


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadProof("this is no proof: it is not text") from error


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadProof("the proof is damaged") from error
    if base64.b64encode(data).decode() != text:
        raise BadProof("the proof is damaged")
    return data


def _hashes(lines: str) -> list[bytes]:
    return [_decoded(line) for line in lines.split("\n")[:-1]]


def _lines(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in hashes]
