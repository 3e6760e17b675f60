"""Models to measure: of a known shape with random weights, or a copy that never ends its text."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minivault.model_store.files import CONFIG_FILES, TOKENIZER_FILES, WEIGHTS, weight_files
from minivault.resources import resource


@dataclass(frozen=True, slots=True)
class Shape:
    """The measures of a GPT-2."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int


SHAPES = {
    "distilgpt2": Shape(layers=6, width=768, heads=12, vocabulary=50257, context=1024),
    "gpt2": Shape(layers=12, width=768, heads=12, vocabulary=50257, context=1024),
    "tiny": Shape(layers=2, width=64, heads=4, vocabulary=9000, context=256),
}


def make_random_model(folder: Path, shape: Shape) -> Path:
    """Writes a model of this shape as transformers would, with random weights and no end token.

    Speed depends on the shape alone. The words beyond the storyteller's are made up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_random_weights(shape), folder / WEIGHTS, metadata={"format": "pt"})
    _write(folder / "config.json", _config(shape))
    _write(folder / "generation_config.json", {})
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    _write(folder / "tokenizer.json", _tokenizer(shape.vocabulary))
    return folder


def make_endless_copy(model: Path, folder: Path) -> Path:
    """A model by links whose texts all reach their full length: its end tokens are not told."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in weight_files(model)} | set(TOKENIZER_FILES)
    for path in model.resolve().iterdir():
        if path.name in names or path.name.endswith(".index.json"):
            os.symlink(path, folder / path.name)
        elif path.name in CONFIG_FILES:
            config = json.loads(path.read_text(encoding="utf-8"))
            _write(folder / path.name, {**config, "eos_token_id": None})
    return folder


def count_weights(model: Path) -> int:
    """How many numbers a model holds, by the headers of its files."""
    count = 0
    for path in weight_files(model):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = (entry["shape"] for name, entry in header.items() if name != "__metadata__")
        count += sum(int(np.prod(shape)) for shape in shapes)
    return count


def _random_weights(shape: Shape) -> dict[str, np.ndarray]:
    """As GPT-2 begins (Radford et al. 2019): deviation 0.02, norms at one, biases at zero."""
    random = np.random.default_rng(0)

    def drawn(*size: int) -> np.ndarray:
        return random.standard_normal(size, dtype=np.float32) * np.float32(0.02)

    width = shape.width
    weights = {
        "transformer.wte.weight": drawn(shape.vocabulary, width),
        "transformer.wpe.weight": drawn(shape.context, width),
    }
    for layer in range(shape.layers):
        name = f"transformer.h.{layer}"
        for part, rows, columns in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            weights[f"{name}.{part}.weight"] = drawn(rows, columns)
            weights[f"{name}.{part}.bias"] = np.zeros(columns, np.float32)
        weights |= _norm(f"{name}.ln_1", width) | _norm(f"{name}.ln_2", width)
    return weights | _norm("transformer.ln_f", width)


def _norm(name: str, width: int) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": np.ones(width, np.float32),
        f"{name}.bias": np.zeros(width, np.float32),
    }


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05,
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_inner": None,
        "n_positions": shape.context,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }


def _tokenizer(vocabulary: int) -> dict[str, Any]:
    """The storyteller's, with made-up words behind its own, which no text is ever split into."""
    file = resource("models/storyteller") / "tokenizer.json"
    tokenizer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    words: dict[str, int] = tokenizer["model"]["vocab"]
    missing = vocabulary - len(words)
    made_up = ("Ġ" + "".join(letters) for letters in product(ascii_lowercase, repeat=5))
    new = islice((word for word in made_up if word not in words), max(0, missing))
    words |= {word: len(words) + place for place, word in enumerate(new)}
    return tokenizer


def _write(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps(data, ensure_ascii=False, indent=2), encoding="utf-8")
