"""Merkle trees as RFC 9162 (2.1) defines them: hashes, and the checks of proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: The root of a tree without entries.
EMPTY = hashlib.sha256(b"").digest()
HASH_SIZE = 32


def leaf(entry: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """How many of `size` entries (at least 2) stand in the left subtree: a power of two."""
    return 1 << (size - 1).bit_length() - 1


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over as many subtrees of one size as a power of two."""
    level = list(hashes)
    while len(level) > 1:
        level = [node(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def includes(root: bytes, size: int, index: int, entry: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree has this entry there (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf(entry)
    for other in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node(other, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node(found, other)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def grew(old: bytes, old_size: int, new: bytes, new_size: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the old tree begins the new one (RFC 9162, 2.1.4.2)."""
    if old_size == new_size or old_size == 0:
        return not proof and (old == EMPTY if old_size == 0 else old == new)
    if not 0 < old_size < new_size:
        return False
    steps = list(proof)
    if old_size & (old_size - 1) == 0:  # the whole old tree is a subtree of the new one
        steps.insert(0, old)
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not steps:
        return False
    was = now = steps[0]
    for other in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            was, now = node(other, was), node(other, now)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            now = node(now, other)
        place, last = place >> 1, last >> 1
    return last == 0 and was == old and now == new
