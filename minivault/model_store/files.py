"""Which files make a model, and whether those of a folder can be the whole of one.

Safetensors only: nothing here ever opens a pickle, and no code that lies beside a model is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG_FILES = (CONFIG, "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format itself


def wanted_files(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that are downloaded: configuration, tokenizer, safetensors.

    Sharded weights only where there is no single file. What lies in folders is of other formats.
    """
    present = set(names)
    shards = {INDEX, *filter(_SHARD.fullmatch, present)}
    weights = {WEIGHTS} if WEIGHTS in present else shards
    return sorted(present & {*CONFIG_FILES, *TOKENIZER_FILES, *weights})


def missing_parts(names: Iterable[str]) -> list[str]:
    """What a set of file names lacks to be a model."""
    present = set(names)
    problems = []
    if CONFIG not in present:
        problems.append(f"no {CONFIG}")
    if not present & {WEIGHTS, INDEX}:
        problems.append(f"no {WEIGHTS} (other formats are not read)")
    if not present.intersection(_VOCABULARIES):
        problems.append("no tokenizer")
    return problems


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: one, or the shards that the index names.

    Raises ValueError if the index cannot be read.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    try:
        names = set(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{INDEX} cannot be read") from error
    if not names or not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in names):
        raise ValueError(f"{INDEX} names files that are no shards")
    return [folder / name for name in sorted(names)]


def tokenizer_files(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def config_files(folder: Path) -> list[Path]:
    return [folder / name for name in CONFIG_FILES if (folder / name).is_file()]


def folder_problems(folder: Path) -> list[str]:
    """Why the files of a folder cannot be a whole model; empty if they can. Reads only headers."""
    if not folder.is_dir():
        return ["no such folder"]
    problems = missing_parts(path.name for path in folder.iterdir() if path.is_file())
    if problems:
        return problems
    try:
        return [problem for path in weight_files(folder) if (problem := _weights_problem(path))]
    except ValueError as error:
        return [str(error)]


def _weights_problem(path: Path) -> str | None:
    """What is wrong with a safetensors file: eight bytes of length, a JSON header, the data."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER:
                return f"{path.name} is no safetensors file"
            header = json.loads(file.read(length))
        end = max(
            entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"
        )
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        return f"{path.name} is no safetensors file"
    expected, size = 8 + length + end, path.stat().st_size
    return None if size == expected else f"{path.name} has {size} bytes, not {expected}"
