"""Repositories as they are on the hub: a model's files among those of a dozen other formats."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

STORYTELLER = Path(__file__).parents[2] / "models" / "storyteller"

TAKEN = {
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
}

LEFT = {
    ".gitattributes",
    "64-8bits.tflite",
    "README.md",
    "coreml/text-generation/float32_model.mlpackage/Data/weights/weight.bin",
    "flax_model.msgpack",
    "modeling_custom.py",
    "onnx/decoder_model.onnx",
    "onnx/config.json",
    "onnx/model.safetensors",
    "original/consolidated.00.pth",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "training_args.bin",
}


def safetensors(size: int, *, name: str = "weight") -> bytes:
    """A file of the format with one tensor of `size` random bytes."""
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, name: entry}).encode()
    return struct.pack("<Q", len(header)) + header + os.urandom(size)


def distilgpt2(weights: int = 300_000) -> dict[str, bytes]:
    """The files of a repository laid out as distilgpt2's, its weights made of random bytes."""
    taken = {
        "config.json": b'{"model_type": "gpt2"}\n',
        "generation_config.json": b"{}\n",
        "merges.txt": b"#version: 0.2\nt h\n",
        "model.safetensors": safetensors(weights),
        "tokenizer.json": b'{"version": "1.0"}' + b" " * 20_000,
        "tokenizer_config.json": b'{"model_max_length": 1024}\n',
        "vocab.json": b'{"t": 0}\n',
    }
    return {**taken, **{name: os.urandom(6000) for name in LEFT}}


def sharded(shards: int = 3, size: int = 50_000) -> dict[str, bytes]:
    """A repository whose weights are in several files, with an index."""
    files = distilgpt2()
    del files["model.safetensors"]
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    files |= {name: safetensors(size, name=f"layer{i}") for i, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": {f"layer{i}": name for i, name in enumerate(names)}}
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, as a person who copies a model does."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
