"""Cosignatures: a witness saw this tree, and it grew from all that it saw before.

c2sp.org/tlog-cosignature, both kinds: Ed25519, and ML-DSA-44, which no quantum computer breaks.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from minivault.errors import FieldError, InvalidRequest
from minivault.vault.signing import Signer
from minivault.vault.tree.head import TreeHead

ED25519, ML_DSA_44 = 4, 6
_SIZES = {ED25519: 32, ML_DSA_44: 1312}
_KEY = re.compile(r"([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The public key of a witness. Written as verifiers of notes take it: name+id+base64."""

    name: str
    kind: int
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Raises InvalidRequest."""
        found = _KEY.fullmatch(text.strip())
        data = _decoded(found[3]) if found else b""
        key = cls(found[1], data[0], data[1:]) if found and data else None
        if key is None or len(key.raw) != _SIZES.get(key.kind) or str(key) != text.strip():
            why = "a witness's key is name+id+key, as minivault witness prints it"
            raise InvalidRequest([FieldError("witness", why)])
        return key

    def __str__(self) -> str:
        raw = base64.b64encode(bytes([self.kind]) + self.raw).decode()
        return f"{self.name}+{self.id.hex()}+{raw}"

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys apart."""
        named = f"{self.name}\n".encode() + bytes([self.kind]) + self.raw
        return hashlib.sha256(named).digest()[:4]

    def seen(self, head: TreeHead) -> int | None:
        """When the witness signed that it saw this tree, in seconds since 1970; None if never."""
        for line in head.signatures.splitlines():
            _, name, value = (line.split(" ") + ["", ""])[:3]
            data = _decoded(value)
            if name != self.name or data[:4] != self.id:
                continue
            time = int.from_bytes(data[4:12])
            if self._is_signed(data[12:], _statement(self, head, time)):
                return time
        return None

    def _is_signed(self, signature: bytes, statement: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            if self.kind == ED25519:
                from cryptography.hazmat.primitives.asymmetric import ed25519

                ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, statement)
            else:
                from cryptography.hazmat.primitives.asymmetric import mldsa

                mldsa.MLDSA44PublicKey.from_public_bytes(self.raw).verify(signature, statement)
        except (InvalidSignature, ValueError):
            return False
        except ImportError as error:
            why = "its kind, ML-DSA-44, needs version 50 of the library cryptography"
            raise InvalidRequest([FieldError("witness", why)]) from error
        return True


def key_of(name: str, signer: Signer) -> WitnessKey:
    """The public part of a witness that signs with this key."""
    return WitnessKey(name, ED25519, signer.public_key.public_bytes_raw())


def cosign(name: str, signer: Signer, head: TreeHead, time: int) -> str:
    """The line that says that this tree was seen."""
    key = key_of(name, signer)
    signature = base64.b64decode(signer.sign(_statement(key, head, time)))
    value = base64.b64encode(key.id + time.to_bytes(8) + signature).decode()
    return f"— {name} {value}\n"


def _statement(key: WitnessKey, head: TreeHead, time: int) -> bytes:
    if key.kind == ED25519:
        return f"cosignature/v1\ntime {time}\n{head.body}".encode()
    named = [bytes([len(each)]) + each for each in (key.name.encode(), head.origin.encode()[:255])]
    span = (0).to_bytes(8) + head.size.to_bytes(8)
    return b"subtree/v1\n\0" + named[0] + time.to_bytes(8) + named[1] + span + head.root


def _decoded(text: str) -> bytes:
    """Empty for what is no base 64, written in the one way that it is."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""
