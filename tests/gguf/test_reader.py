"""The GGUF reader: what the `gguf` package reads, and one sentence for whatever is wrong."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivault.errors import ModelUnusable
from minivault.gguf.blocks import BLOCK_TYPES
from minivault.gguf.reader import GgufFile
from tests.gguf.files import (
    Typed,
    gguf_bytes,
    random_tensor,
    reference,
    save,
    string,
    value,
)

FULL = os.environ.get("MINIVAULT_FULL") == "1"

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Ünïcode 名",
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "small": Typed("b", -3),
    "large": Typed("Q", 2**63 + 1),
    "double": Typed("d", 0.1),
    "yes": True,
    "words": ["a", "", "ö"],
    "numbers": [1, 2, 3],
    "switches": [True, False],
}


def sample() -> bytes:
    tensors = {
        f"blk.{number}.{kind.name}": random_tensor(kind.name, (4, 512), number)
        for number, kind in BLOCK_TYPES.items()
    }
    return gguf_bytes(METADATA, tensors)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "small.gguf"


def refusal(path: Path, data: bytes) -> str:
    """What is said of this file; it must be one sentence that begins with its name."""
    path.write_bytes(data)
    with pytest.raises(ModelUnusable) as raised:
        GgufFile.open(path)
    message = str(raised.value)
    assert message.startswith("small.gguf ")
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_metadata_and_tensors_are_what_the_reference_reads(path: Path) -> None:
    path.write_bytes(sample())
    ours, theirs = GgufFile.open(path), reference().GGUFReader(path)
    for key in METADATA:
        assert np.array_equal(ours.metadata[key], theirs.fields[key].contents()), key
    assert len(ours.metadata) == len(METADATA)
    assert [each.name for each in theirs.tensors] == list(ours.tensors)
    for each in theirs.tensors:
        tensor = ours.tensors[each.name]
        assert tensor.type.name == each.tensor_type.name
        assert np.array_equal(tensor.blocks, each.data.view(np.uint8).reshape(tensor.blocks.shape))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:gguf")
@pytest.mark.parametrize("kind", [each.name for each in BLOCK_TYPES.values()])
def test_blocks_stand_for_what_the_reference_makes_of_them(path: Path, kind: str) -> None:
    """Random bytes, so that every bit of a block matters, also in scales that are no number."""
    save(path, {}, {"it": random_tensor(kind, (16, 3, 512))})
    tensor, gguf = GgufFile.open(path).tensors["it"], reference()
    expected = gguf.dequantize(tensor.blocks, gguf.GGMLQuantizationType[kind])
    assert tensor.values().dtype == np.float32
    assert np.array_equal(tensor.values(), expected.reshape(16, 3, 512), equal_nan=True)


def test_a_file_of_the_reference_is_read(path: Path) -> None:
    gguf, chance = reference(), np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_array("words", ["x", "yz"])
    weights = chance.normal(size=(5, 64)).astype(np.float32)
    for kind in ("F32", "Q8_0", "Q4_0", "Q5_1"):
        number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(kind, gguf.quantize(weights, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile.open(path)
    assert file.metadata["words"] == ["x", "yz"]
    assert np.array_equal(file.tensors["F32"].values(), weights)
    for name, error in {"Q8_0": 0.02, "Q4_0": 0.3, "Q5_1": 0.15}.items():
        assert np.abs(file.tensors[name].values() - weights).max() < error


def header(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def key(name: str, kind: int, *rest: int) -> bytes:
    """The one key of a file, up to where its value would begin; then zeros."""
    return header(0, 1) + string(name) + struct.pack(f"<I{'IQ'[: len(rest)]}", kind, *rest)


def entry(name: str, shape: tuple[int, ...], kind: int = 0, place: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
    return string(name) + dimensions + struct.pack("<IQ", kind, place)


HUGE = 2**63
FOUR = (1, 8)
HOSTILE = {
    "empty": (b"", "cannot be read"),
    "another format": (b"PK\x03\x04" + bytes(60), "does not begin with GGUF"),
    "magic alone": (b"GGUF", "is cut short"),
    "old version": (header(0, 0, 1), "GGUF version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "keys": (header(0, HUGE) + bytes(64), f"{HUGE} keys"),
    "keys of a large file": (header(0, 2**17) + bytes(2**22), "131072 keys"),
    "tensors": (header(HUGE, 0) + bytes(64), f"{HUGE} tensors"),
    "a key's length": (header(0, 1) + struct.pack("<Q", HUGE) + bytes(64), "is cut short"),
    "a key that is no text": (header(0, 1) + string(b"\xff\xfe") + value(1), "UTF-8"),
    "a key twice": (header(0, 2) + (string("k") + value(1)) * 2, "says 'k' twice"),
    "type of a value": (key("k", 99) + bytes(9), "a value of type 99"),
    "array of arrays": (key("k", 9, 9, 1) + bytes(64), "an array of arrays"),
    "numbers of an array": (key("k", 9, 4, HUGE) + bytes(64), f"{HUGE} values in 'k'"),
    "strings of an array": (key("k", 9, 8, 2**22 + 1) + bytes(2**25 + 8), "4194305 values in 'k'"),
    "alignment": (
        header(0, 1) + string("general.alignment") + value(48) + bytes(64),
        "alignment is 48",
    ),
    "alignment in words": (
        header(0, 1) + string("general.alignment") + value("32") + bytes(64),
        "alignment is 32, not",
    ),
    "a part": (header(0, 1) + string("split.count") + value(3) + bytes(64), "one of 3 parts"),
    "a tensor's name": (header(1, 0) + string("x" * 65) + bytes(64), "at most 64"),
    "no dimensions": (header(1, 0) + entry("t", ()) + bytes(64), "has 0 dimensions"),
    "many dimensions": (header(1, 0) + entry("t", (1,) * 5) + bytes(64), "has 5 dimensions"),
    "width 0": (header(1, 0) + entry("t", (4, 0)) + bytes(64), "cannot be F32 of (4, 0)"),
    "half a block": (header(1, 0) + entry("t", (4, 48), 2) + bytes(999), "cannot be Q4_0"),
    "overflow": (header(1, 0) + entry("t", (2**32, 2**32)) + bytes(64), "is cut short"),
    "type of a tensor": (header(1, 0) + entry("t", (1, 32), 23) + bytes(99), "'t' as IQ4_XS"),
    "unknown type": (header(1, 0) + entry("t", (1, 32), 77) + bytes(99), "'t' as type 77"),
    "place behind the end": (header(1, 0) + entry("t", FOUR, place=2**62), "is cut short"),
    "place between": (header(1, 0) + entry("t", FOUR, place=8) + bytes(128), "place of its own"),
    "one place for two": (
        header(2, 0) + entry("t", FOUR) + entry("u", FOUR) + bytes(128),
        "place of its own",
    ),
    "one name for two": (
        header(2, 0) + entry("t", FOUR) + entry("t", FOUR, place=32) + bytes(128),
        "place of its own",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_file_says_is_compared_with_its_size(path: Path, case: str) -> None:
    data, why = HOSTILE[case]
    tracemalloc.start()
    try:
        assert why in refusal(path, data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot be read"):
        GgufFile.open(tmp_path)


def test_a_cut_file_is_refused_wherever_it_is_cut(path: Path) -> None:
    whole = sample()
    path.write_bytes(whole)
    last = list(GgufFile.open(path).tensors.values())[-1]
    for length in range(1, len(whole) - last.blocks.nbytes, 1 if FULL else 97):
        refusal(path, whole[:length])


def test_a_file_with_flipped_bits_is_read_or_refused(path: Path) -> None:
    """Whatever the header says, nothing but ModelUnusable is raised."""
    whole, chance = sample(), random.Random(3)
    for _ in range(20000 if FULL else 300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(1200)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(data)
        try:
            file = GgufFile.open(path)
        except ModelUnusable:
            continue
        for tensor in file.tensors.values():
            tensor.values()
