"""GGUF, the file format of llama.cpp: one file holds a model's weights, settings and tokenizer."""

from __future__ import annotations

from pathlib import Path


def is_gguf(path: Path) -> bool:
    """Whether a path is meant as a GGUF file: by its name alone."""
    return path.suffix.lower() == ".gguf"
