"""The checkpoint: the log's head, kept outside the log so that a cut tail is seen.

`logs/checkpoint` is a signed note as transparency logs use them (c2sp.org/signed-note,
c2sp.org/tlog-checkpoint): origin, number of records, head, then the hash of what redaction makes
of the newest line, and where the log begins if its oldest files were removed by the retention
rules; after a blank line the signature, if a key is configured.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from minivault.vault.chain import Head, Judge, Told
from minivault.vault.record import GENESIS
from minivault.vault.signing import BadCheckpoint, Signer, is_signed, require_note

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NAME = "checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Record `seq` has the hash `head`; the log begins with record `first`, after `base`."""

    origin: str
    seq: int
    head: str
    first: int = 1
    base: str = GENESIS
    redacted: str | None = None  # the hash of the redacted form of record `seq`, if it is known
    is_signed: bool = False

    def body(self) -> str:
        root = base64.b64encode(bytes.fromhex(self.head)).decode()
        text = f"{self.origin}\n{self.seq}\n{root}\n"
        if self.redacted:
            text += f"redacted {self.redacted}\n"
        return text if self.first == 1 else f"{text}from {self.first} {self.base}\n"

    def advanced(self, head: Head) -> Checkpoint:
        return replace(self, seq=head.seq, head=head.hash, redacted=head.redacted)

    def fits(self, head: Head | None) -> bool:
        """Whether this is the record that it names; None is one that is out of sight."""
        if head is None or self.seq == 0:
            return True
        return head.hash == self.head and self.redacted in (None, head.redacted)


def dump(checkpoint: Checkpoint, signer: Signer | None = None) -> bytes:
    body = checkpoint.body()
    signature = signer.note(body, checkpoint.origin) if signer else ""
    return f"{body}\n{signature}".encode()


def parse(data: bytes, public_key: Ed25519PublicKey | None = None) -> Checkpoint:
    """Reads a checkpoint and checks its signature if a key is given. Raises BadCheckpoint."""
    try:
        body, signatures = data.decode().split("\n\n", 1)
        lines = body.split("\n")
        root = base64.b64decode(lines[2], validate=True)
        more = dict(line.split(" ", 1) for line in lines[3:])
        first, base = more.get("from", f"1 {GENESIS}").split(" ")
        checkpoint = Checkpoint(
            lines[0], int(lines[1]), root.hex(), int(first), base, more.get("redacted")
        )
        is_whole = len(root) == 32 and checkpoint.body() == f"{body}\n"
        bytes.fromhex(base + (checkpoint.redacted or ""))
    except (ValueError, IndexError, TypeError) as error:
        raise BadCheckpoint("the checkpoint cannot be read: it is damaged") from error
    if not is_whole or checkpoint.seq < 0 or checkpoint.first < 1 or len(base) != 64:
        raise BadCheckpoint("the checkpoint cannot be read: it is damaged")
    if public_key:
        require_note(checkpoint.body(), checkpoint.origin, signatures, public_key)
    return replace(checkpoint, is_signed=signatures.strip() != "")


def judge(key: Ed25519PublicKey, after: int) -> Judge:
    """Where checkpoints are signed, redactions are: those that come `after` the signed record."""

    def wrong(told: Told) -> str | None:
        if told.signature is None:
            return None if told.seq <= after else "the redaction that it tells of is not signed"
        statement = told.redaction.statement(told.target)
        if not is_signed(statement, str(told.signature), key):
            return "the redaction that it tells of is signed with another key"
        return None

    return wrong
