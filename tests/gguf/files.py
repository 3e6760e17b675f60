"""Small GGUF files, written byte by byte."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.gguf.blocks import BLOCK_TYPES
from tests.tools import leave_out

#: The types of metadata, by how `struct` spells them.
NUMBERS = {spelling: number for number, spelling in enumerate("BbHhIif?")} | {
    "Q": 10,
    "q": 11,
    "d": 12,
}
TYPE_NUMBERS = {kind.name: number for number, kind in BLOCK_TYPES.items()}

Tensor = tuple[str, Sequence[int], NDArray[np.uint8]]
"""The name of its type, its shape (inputs last), its bytes."""


def reference() -> Any:
    """The package of llama.cpp's own people."""
    try:
        return importlib.import_module("gguf")
    except ModuleNotFoundError:
        leave_out("the package gguf is not installed")


class Typed:
    """A value of another type of metadata than Python's type says."""

    def __init__(self, spelling: str, number: float) -> None:
        self.spelling = spelling
        self.number = number


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    """A value of the metadata with its type before it."""
    if isinstance(given, Typed):
        return struct.pack(f"<I{given.spelling}", NUMBERS[given.spelling], given.number)
    if isinstance(given, bool):
        return value(Typed("?", given))
    if isinstance(given, int):
        return value(Typed("I", given))
    if isinstance(given, float):
        return value(Typed("f", given))
    if isinstance(given, str | bytes):
        return struct.pack("<I", 8) + string(given)
    items = [value(each) for each in given]
    kind = items[0][:4] if items else struct.pack("<I", 4)
    assert all(each[:4] == kind for each in items)
    head = struct.pack("<I", 9) + kind + struct.pack("<Q", len(items))
    return head + b"".join(each[4:] for each in items)


def floats(values: NDArray[Any]) -> Tensor:
    return "F32", values.shape, np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)


def gguf_bytes(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A whole file."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(string(key) + value(given) for key, given in metadata.items())
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += string(name) + dimensions + struct.pack("<IQ", TYPE_NUMBERS[kind], len(data))
        data += raw.tobytes() + bytes(-raw.nbytes % 32)
    return head + bytes(-len(head) % 32) + data


def save(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def random_tensor(kind: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Random bytes, whatever they mean."""
    block = BLOCK_TYPES[TYPE_NUMBERS[kind]]
    size = int(np.prod(shape)) // block.weights * block.nbytes
    return kind, shape, np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
