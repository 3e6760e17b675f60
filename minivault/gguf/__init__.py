"""GGUF, the file format of llama.cpp: one file holds a model's weights, settings and tokenizer."""

from minivault.gguf.blocks import BLOCK_TYPES, BlockType
from minivault.gguf.config import Family, config_of, family_of
from minivault.gguf.reader import GgufFile, GgufTensor, Value
from minivault.gguf.weights import halves_from_neighbours, weights_of

__all__ = [
    "BLOCK_TYPES",
    "BlockType",
    "Family",
    "GgufFile",
    "GgufTensor",
    "Value",
    "config_of",
    "family_of",
    "halves_from_neighbours",
    "weights_of",
]
