"""The tree's checkpoint: a signed note (c2sp.org/tlog-checkpoint) with its size and root."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from minivault.merkle import HASH_SIZE
from minivault.vault.signing import BadCheckpoint, Signer, require_note

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_NOTE = re.compile(
    r"(?P<origin>[^\n]{1,500})\n(?P<size>0|[1-9]\d{0,17})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"(?P<more>([^\n]+\n)*)\n(?P<signatures>(— [^\n]+\n)*)"
)
_FIRST = re.compile(r".*/tree-from-([1-9]\d{0,17})")


def origin_of(log: str, first: int) -> str:
    """The name of the tree over a log's records from `first` on.

    The log's own checkpoint has another name: that is a note of the same form over something else.
    """
    return f"{log}/tree-from-{first}"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The tree `origin` has `size` entries and this root.

    `more` are lines that other logs' checkpoints may have; `signatures` are the note's last lines.
    """

    origin: str
    size: int
    root: bytes
    more: str = ""
    signatures: str = ""

    @classmethod
    def parse(cls, data: bytes) -> TreeHead:
        """Reads a checkpoint; its signatures are not checked. Raises BadCheckpoint."""
        try:
            found = _NOTE.fullmatch(data.decode())
        except UnicodeDecodeError:
            found = None
        root = base64.b64decode(found["root"]) if found else b""
        if not found or len(root) != HASH_SIZE or base64.b64encode(root).decode() != found["root"]:
            raise BadCheckpoint("the tree's checkpoint cannot be read: it is damaged")
        size = int(found["size"])
        return cls(found["origin"], size, root, found["more"], found["signatures"])

    @property
    def body(self) -> str:
        """What is signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\n{self.more}"

    @property
    def note(self) -> bytes:
        return f"{self.body}\n{self.signatures}".encode()

    @property
    def first(self) -> int:
        """The record that is its first entry. Raises BadCheckpoint for a tree that is no log's."""
        found = _FIRST.fullmatch(self.origin)
        if not found:
            raise BadCheckpoint(f"the tree {self.origin} is not one over the records of a log")
        return int(found[1])

    @property
    def last(self) -> int:
        """The newest record in it."""
        return self.first + self.size - 1

    @property
    def is_signed(self) -> bool:
        return self.signatures != ""

    def signed(self, signer: Signer | None) -> TreeHead:
        return replace(self, signatures=signer.note(self.body, self.origin) if signer else "")

    def require_signed(self, key: Ed25519PublicKey) -> None:
        """Raises BadCheckpoint unless it is signed with this key."""
        require_note(self.body, self.origin, self.signatures, key)
