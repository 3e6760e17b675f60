"""Reads a GGUF file: metadata and tensors. Trusts nothing that it says.

Layout, little-endian: magic, version, counts; the metadata, each a key, a type and a value; for
each tensor its name, dimensions, type and place; then the data, aligned. Every count, length and
place is compared with the file's size before anything is made of it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from minivault.errors import ModelUnusable
from minivault.gguf.blocks import BLOCK_TYPES, UNREAD_TYPES, BlockType

Value = int | float | bool | str | list[str] | NDArray[Any]
"""A value of the metadata; an array of numbers is a view of the file."""

MAGIC: Final = b"GGUF"
_VERSIONS = (2, 3)
_SPLIT_COUNT = "split.count"
_ALIGNMENT = "general.alignment"
_LARGEST_ALIGNMENT = 2**20
_LONGEST_NAME = 64  # of a tensor; ggml's own limit
_MOST_DIMENSIONS = 4

# Far more than any model has, and still nothing that fills a machine's memory.
_MOST_ENTRIES = 2**16  # keys, tensors
_MOST_STRINGS = 2**22  # in all arrays together

# The numbers of the metadata's types, and how `struct` spells them.
_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_BOOL, _STRING, _ARRAY = 7, 8, 9
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as the file holds it.

    `shape` is numpy's: outputs first, inputs last. `blocks` is a view of the file, not a copy:
    uint8, `shape` with the last one replaced by the bytes of a row. Whatever selects or reorders
    rows may be done on `blocks` as well as on `values()`.
    """

    name: str
    type: BlockType
    shape: tuple[int, ...]
    blocks: NDArray[np.uint8]

    def values(self) -> NDArray[np.float32]:
        """All of it in float32: (outputs, inputs)."""
        return self.type.values(self.blocks)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """An open file. It stays mapped as long as one of its tensors is in use."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]
    mapped: mmap.mmap

    def forget(self) -> None:
        """Takes what was read so far out of this process's memory; whoever reads it again, can."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Raises ModelUnusable, in one sentence that begins with the file's name."""
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise ModelUnusable(f"{path.name} cannot be read: {error}") from error
        try:
            return cls(path, *_Reader(data).read(), data)
        except _Wrong as wrong:
            raise ModelUnusable(f"{path.name} {wrong}") from wrong


class _Wrong(Exception):
    """What is wrong with the file, as the rest of a sentence that begins with its name."""


class _Reader:
    """Walks over the file from its beginning."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0
        self._strings_left = _MOST_STRINGS

    def read(self) -> tuple[dict[str, Value], dict[str, GgufTensor]]:
        tensors, keys = self._counts()
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self._string("a key")
            if key in metadata:
                raise _Wrong(f"is damaged: it says {_shown(key)} twice")
            metadata[key] = self._value(self._number("I"), key)
        if metadata.get(_SPLIT_COUNT, 1) not in (0, 1):
            raise _Wrong(
                f"is one of {metadata[_SPLIT_COUNT]} parts, which are not read: "
                "join them with llama-gguf-split --merge"
            )
        alignment = metadata.get(_ALIGNMENT, 32)
        if (
            isinstance(alignment, bool)
            or not isinstance(alignment, int)
            or not 1 <= alignment <= _LARGEST_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            raise _Wrong(f"is damaged: its alignment is {str(alignment)[:20]}, not a power of two")
        entries = [self._entry() for _ in range(tensors)]
        begin = -(-self._at // alignment) * alignment
        return metadata, self._tensors(entries, begin, alignment)

    def _counts(self) -> tuple[int, int]:
        """How many tensors and how many keys follow."""
        if self._data[:4] != MAGIC:
            raise _Wrong("is no GGUF file: it does not begin with GGUF")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            if version.to_bytes(4, "little")[:3] == b"\0\0\0":
                raise _Wrong("was written for big-endian processors, which is not read")
            raise _Wrong(f"is of GGUF version {version}; versions 2 and 3 are read")
        tensors, keys = self._number("Q"), self._number("Q")
        # The least that each can take: key, type and value; name, dimensions, type and place.
        self._bound(keys, 8 + 4 + 1, "keys", _MOST_ENTRIES)
        self._bound(tensors, 8 + 4 + 8 + 4 + 8, "tensors", _MOST_ENTRIES)
        return tensors, keys

    def _value(self, kind: int, key: str) -> Value:
        if kind == _STRING:
            return self._string(key)
        if kind == _ARRAY:
            return self._array(key)
        number: Value = self._number(_spelling(kind, key))
        if kind == _BOOL:
            return bool(number)
        return number

    def _array(self, key: str) -> Value:
        kind, count = self._number("I"), self._number("Q")
        if kind == _STRING:
            self._bound(count, 8, f"values in {_shown(key)}", self._strings_left)
            self._strings_left -= count
            return self._strings(key, count)
        spelling = _spelling(kind, key)
        width = struct.calcsize(spelling)
        self._bound(count, width, f"values in {_shown(key)}", self._size)
        begin = self._advance(count * width)
        return np.frombuffer(self._data, f"<{spelling}", count, begin)

    def _strings(self, key: str, count: int) -> list[str]:
        """A vocabulary has a hundred thousand; a second round finds what is wrong with one."""
        data, unpack = self._data, _LENGTH.unpack_from
        at, found = self._at, []
        try:
            for _ in range(count):
                begin = at + _LENGTH.size
                at = begin + unpack(data, at)[0]
                found.append(data[begin:at].decode("utf-8"))
        except (struct.error, OverflowError, UnicodeDecodeError):
            at = self._size + 1
        if at > self._size:
            return [self._string(key) for _ in range(count)]
        self._at = at
        return found

    def _entry(self) -> tuple[str, tuple[int, ...], BlockType, int]:
        """A line of the tensors' table: name, shape, type, place."""
        name = self._string("a tensor's name", longest=_LONGEST_NAME)
        dimensions = self._number("I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise _Wrong(f"is damaged: {_shown(name)} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        kind, place = self._number("I"), self._number("Q")
        if kind not in BLOCK_TYPES:
            read = ", ".join(each.name for each in BLOCK_TYPES.values())
            other = UNREAD_TYPES.get(kind, f"type {kind}")
            raise _Wrong(f"holds {_shown(name)} as {other}, which is not read; these are: {read}")
        return name, shape, BLOCK_TYPES[kind], place

    def _tensors(
        self, entries: list[tuple[str, tuple[int, ...], BlockType, int]], begin: int, alignment: int
    ) -> dict[str, GgufTensor]:
        tensors: dict[str, GgufTensor] = {}
        ends = [begin]
        for name, shape, kind, place in sorted(entries, key=lambda entry: entry[3]):
            width, rest = divmod(shape[-1], kind.weights)
            rows = 1
            for dimension in shape[:-1]:
                rows *= dimension
            nbytes = rows * width * kind.nbytes
            at = begin + place
            if rest or nbytes == 0:
                raise _Wrong(f"is damaged: {_shown(name)} cannot be {kind.name} of {shape}")
            if at % alignment or at < ends[-1] or name in tensors:
                raise _Wrong(f"is damaged: {_shown(name)} does not lie in a place of its own")
            if at + nbytes > self._size:
                raise _Wrong(
                    f"is cut short: {_shown(name)} ends at byte {at + nbytes} of {self._size}"
                )
            ends.append(at + nbytes)
            raw = np.frombuffer(self._data, np.uint8, nbytes, at)
            blocks = raw.reshape(*shape[:-1], width * kind.nbytes)
            tensors[name] = GgufTensor(name, kind, shape, blocks)
        return tensors

    def _string(self, what: str, longest: int | None = None) -> str:
        length = self._number("Q")
        if longest is not None and length > longest:
            raise _Wrong(f"is damaged: {what} has {length} bytes, at most {longest} are allowed")
        begin = self._advance(length)
        try:
            return self._data[begin : self._at].decode("utf-8")
        except UnicodeDecodeError:
            raise _Wrong(f"is damaged: {_shown(what)} is not UTF-8") from None

    def _number(self, spelling: str) -> int:
        """The next number; also a float or a bool, where the spelling says so."""
        begin = self._advance(struct.calcsize(f"<{spelling}"))
        number: int = struct.unpack_from(f"<{spelling}", self._data, begin)[0]
        return number

    def _advance(self, count: int) -> int:
        """Steps over so many bytes; where they begin."""
        begin = self._at
        if count > self._size - begin:
            raise _Wrong(f"is cut short: {count} bytes are to follow byte {begin} of {self._size}")
        self._at = begin + count
        return begin

    def _bound(self, count: int, least: int, what: str, most: int) -> None:
        """Refuses a count of things that no model has, or that the rest of the file cannot hold."""
        if count > min(most, (self._size - self._at) // least):
            raise _Wrong(f"is damaged or cut short: it cannot hold {count} {what}")


def _spelling(kind: int, key: str) -> str:
    if kind not in _NUMBERS:
        nested = "an array of arrays" if kind == _ARRAY else f"a value of type {kind}"
        raise _Wrong(f"is damaged: {_shown(key)} is {nested}")
    return _NUMBERS[kind]


def _shown(name: str) -> str:
    """A name from the file as a message may show it."""
    return repr(name[:80])
