"""The checkpoint: the log's head, kept outside the log so that a cut tail is seen.

`logs/checkpoint` is a signed note as transparency logs use them (c2sp.org/signed-note,
c2sp.org/tlog-checkpoint): origin, number of records, head, then where the log begins if its
oldest files were removed by the retention rules; after a blank line the signature, if a key is
configured.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import CannotStart, MiniVaultError
from minivault.vault.record import GENESIS

if TYPE_CHECKING:  # loaded only where a key is configured
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

NAME = "checkpoint"
_ED25519 = b"\x01"


class BadCheckpoint(MiniVaultError):
    """The checkpoint cannot be read, or its signature is missing or wrong."""

    title = "Bad checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Record `seq` has the hash `head`; the log begins with record `first`, after `base`."""

    origin: str
    seq: int
    head: str
    first: int = 1
    base: str = GENESIS

    def body(self) -> str:
        root = base64.b64encode(bytes.fromhex(self.head)).decode()
        text = f"{self.origin}\n{self.seq}\n{root}\n"
        return text if self.first == 1 else f"{text}from {self.first} {self.base}\n"

    def advanced(self, seq: int, head: str) -> Checkpoint:
        return replace(self, seq=seq, head=head)


class Signer:
    """Signs checkpoints with an Ed25519 private key (RFC 8032)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Reads a PEM file. Raises CannotStart."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise CannotStart(f"the signing key {path} cannot be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise CannotStart(f"the signing key {path} is not an Ed25519 key")
        return cls(key)

    def sign(self, body: str, origin: str) -> str:
        """The note's signature line."""
        signature = _key_id(origin, self._key.public_key()) + self._key.sign(body.encode())
        return f"— {origin} {base64.b64encode(signature).decode()}\n"


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Reads a public key in PEM. Raises BadCheckpoint."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"the public key {path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadCheckpoint(f"the public key {path} is not an Ed25519 key")
    return key


def write_keys(private: Path, public: Path) -> None:
    """Makes a pair of keys, the private one readable for its owner alone.

    Raises FileExistsError rather than overwrite a key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, data, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(data)


def dump(checkpoint: Checkpoint, signer: Signer | None = None) -> bytes:
    body = checkpoint.body()
    signature = signer.sign(body, checkpoint.origin) if signer else ""
    return f"{body}\n{signature}".encode()


def parse(data: bytes, public_key: Ed25519PublicKey | None = None) -> Checkpoint:
    """Reads a checkpoint and checks its signature if a key is given. Raises BadCheckpoint."""
    try:
        body, signatures = data.decode().split("\n\n", 1)
        lines = body.split("\n")
        root = base64.b64decode(lines[2], validate=True)
        first, base = _beginning(lines[3:])
        checkpoint = Checkpoint(lines[0], int(lines[1]), root.hex(), first, base)
    except (ValueError, IndexError) as error:
        raise BadCheckpoint("the checkpoint cannot be read: it is damaged") from error
    if len(root) != 32 or checkpoint.body() != f"{body}\n":
        raise BadCheckpoint("the checkpoint cannot be read: it is damaged")
    if public_key:
        _require_signature(checkpoint, signatures, public_key)
    return checkpoint


def _beginning(extensions: list[str]) -> tuple[int, str]:
    for line in extensions:
        word, first, base = line.split(" ")
        if word == "from" and len(bytes.fromhex(base)) == 32:
            return int(first), base
    return 1, GENESIS


def _require_signature(checkpoint: Checkpoint, signatures: str, key: Ed25519PublicKey) -> None:
    from cryptography.exceptions import InvalidSignature

    for line in signatures.splitlines():
        try:
            dash, name, text = line.split(" ")
            signature = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            continue
        if dash != "—" or name != checkpoint.origin or signature[:4] != _key_id(name, key):
            continue
        try:
            return key.verify(signature[4:], checkpoint.body().encode())
        except InvalidSignature:
            raise BadCheckpoint("the checkpoint's signature is wrong") from None
    raise BadCheckpoint("the checkpoint is not signed with this key")


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    """Four bytes that tell keys apart (c2sp.org/signed-note)."""
    raw = key.public_bytes_raw()
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]
