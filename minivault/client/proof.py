"""A record's proof, held against a public key: the log that this key signs has the record."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from minivault.client.reading import Receipt
from minivault.errors import NotProven
from minivault.merkle import includes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: c2sp.org/tlog-proof: the record's hash, its place, the hashes beside its path, the checkpoint.
_FORM = re.compile(
    r"c2sp\.org/tlog-proof@v1\nextra (?P<extra>[A-Za-z0-9+/=]+)\nindex (?P<index>\d{1,18})\n"
    r"(?P<hashes>(?:[A-Za-z0-9+/]{43}=\n){0,63})\n"
    r"(?P<body>(?P<origin>\S+/tree-from-(?P<first>\d{1,18}))\n(?P<size>\d{1,18})\n"
    r"(?P<root>[A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*)\n(?P<signatures>(?:— \S+ \S+\n)*)"
)


def require_proof(proof: str, receipt: Receipt, public_key: str) -> None:
    """Raises NotProven unless a log that `public_key` signs has the record of the receipt.

    `public_key`: PEM, or one line as `minivault logs keygen` shows it. Needs `cryptography`.
    """
    found = _FORM.fullmatch(proof)
    if not found or found["extra"] != base64.b64encode(receipt.hash.encode()).decode():
        raise NotProven(f"what the server sent is no proof of record {receipt.seq}")
    index, size = int(found["index"]), int(found["size"])
    root, *hashes = map(base64.b64decode, [found["root"], *found["hashes"].split()])
    in_tree = includes(root, size, index, bytes.fromhex(receipt.hash), hashes)
    if not in_tree or int(found["first"]) + index != receipt.seq:
        raise NotProven(f"record {receipt.seq} does not stand in the tree that the server signed")
    if not _is_signed(found["body"], found["origin"], found["signatures"], public_key):
        raise NotProven("the log's tree is not signed with this key")


def _is_signed(body: str, origin: str, signatures: str, public_key: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    key = _key(public_key)
    for _, name, signature in map(str.split, signatures.splitlines()):
        try:
            if name == origin:
                key.verify(base64.b64decode(signature)[4:], body.encode())
                return True
        except (InvalidSignature, ValueError):
            continue
    return False


def _key(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        if "+" in text and not text.startswith("-----"):
            raw = base64.b64decode(text.strip().split("+", 2)[2])[1:]
            return Ed25519PublicKey.from_public_bytes(raw)
        key = load_pem_public_key(text.encode())
    except (ValueError, IndexError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise NotProven("the public key is no Ed25519 key: give its PEM, or the line of a verifier")
    return key
