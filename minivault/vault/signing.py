"""Ed25519 keys (RFC 8032): they sign checkpoints, and redactions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import CannotStart, MiniVaultError
from minivault.vault.private_file import read_secret

if TYPE_CHECKING:  # loaded only where a key is configured
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_ED25519 = b"\x01"


class BadCheckpoint(MiniVaultError):
    """The checkpoint cannot be read, or its signature is missing or wrong."""

    title = "Bad checkpoint"


class Signer:
    """Signs with a private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key()

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Reads a PEM file. Raises CannotStart, also for a file that is not private."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = read_secret(path, "signing key")
        try:
            key = load_pem_private_key(data, password=None)
        except Exception as error:  # whatever the library raises for bytes that are no key
            reason = "it is no private key in PEM (minivault logs keygen makes one)"
            raise CannotStart(f"the signing key {path} cannot be used: {reason}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise CannotStart(f"the signing key {path} is not an Ed25519 key")
        return cls(key)

    def note(self, body: str, origin: str) -> str:
        """The signature line of a signed note (c2sp.org/signed-note)."""
        signature = _key_id(origin, self.public_key) + self._key.sign(body.encode())
        return f"— {origin} {base64.b64encode(signature).decode()}\n"

    def sign(self, statement: bytes) -> str:
        """A signature in base64."""
        return base64.b64encode(self._key.sign(statement)).decode()


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Reads a public key in PEM. Raises BadCheckpoint."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except Exception as error:  # whatever the library raises for bytes that are no key
        why = error.strerror if isinstance(error, OSError) else "it is no public key in PEM"
        raise BadCheckpoint(f"the public key {path} cannot be read: {why}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadCheckpoint(f"the public key {path} is not an Ed25519 key")
    return key


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """The public key as verifiers of signed notes take it (c2sp.org/signed-note)."""
    raw = base64.b64encode(_ED25519 + key.public_bytes_raw()).decode()
    return f"{name}+{_key_id(name, key).hex()}+{raw}"


def parse_verifier_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """Name and key of what `verifier_key` wrote. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, _, data = text.split("+", 2)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(data, validate=True)[1:])
    if verifier_key(name, key) != text:
        raise ValueError("its id is not that of its key")
    return name, key


def write_keys(private: Path, public: Path) -> None:
    """Makes a pair of keys, the private one readable for its owner alone.

    A private key whose public part is missing, as a killed run leaves it, gets that part.
    Raises FileExistsError rather than overwrite a key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    if private.exists() and not public.exists():
        key = Signer.load(private)._key
    else:
        key = Ed25519PrivateKey.generate()
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_new(private, secret, 0o600)
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(public, shown, 0o644)


def require_note(body: str, origin: str, signatures: str, key: Ed25519PublicKey) -> None:
    """Raises BadCheckpoint unless one of the signature lines is this key's."""
    from cryptography.exceptions import InvalidSignature

    for line in signatures.splitlines():
        try:
            dash, name, text = line.split(" ")
            signature = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            continue
        if base64.b64encode(signature).decode() != text:  # its last bits are not all there
            continue
        if dash != "—" or name != origin or signature[:4] != _key_id(name, key):
            continue
        try:
            return key.verify(signature[4:], body.encode())
        except InvalidSignature:
            raise BadCheckpoint("the checkpoint's signature is wrong") from None
    raise BadCheckpoint("the checkpoint is not signed with this key")


def is_signed(statement: bytes, signature: str, key: Ed25519PublicKey) -> bool:
    """Whether `Signer.sign` made this signature."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """All of the file or nothing of it, whenever the process is killed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(temporary, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if os.path.lexists(path):
        temporary.unlink()
        raise FileExistsError(17, "File exists", str(path))
    os.rename(temporary, path)


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    """Four bytes that tell keys apart (c2sp.org/signed-note)."""
    raw = key.public_bytes_raw()
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]
