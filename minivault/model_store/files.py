"""Which files make a model, and whether those of a folder can be the whole of one.

Safetensors or one GGUF file: nothing here ever opens a pickle, and no code that lies beside a model
is run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from minivault.errors import ModelUnusable
from minivault.gguf import is_gguf
from minivault.model_store.config import config_problem

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
_SHARD = re.compile(r"(?!\.)[^/\\\0]{1,200}\.safetensors")
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format itself
_LARGEST_JSON = 100_000_000


def wanted_files(names: Iterable[str]) -> list[str]:
    """Of a repository's files those that are downloaded: configuration, tokenizer, safetensors.

    Of sharded weights the index, which says what else; only where there is no single file. What
    lies in folders is of other formats.
    """
    present = set(names)
    weights = WEIGHTS if WEIGHTS in present else INDEX
    return sorted(present & {*CONFIG_FILES, *TOKENIZER_FILES, weights})


def possible_shards(names: Iterable[str]) -> list[str]:
    """Those of a repository's files that an index may name."""
    return sorted(filter(_SHARD.fullmatch, names))


def missing_parts(names: Iterable[str]) -> list[str]:
    """What a set of file names lacks to be a model."""
    present = set(names)
    problems = []
    if CONFIG not in present:
        problems.append(f"no {CONFIG}")
    if not present & {WEIGHTS, INDEX}:
        problems.append(f"no {WEIGHTS} and no GGUF file (other formats are not read)")
    if not present.intersection(_VOCABULARIES):
        problems.append("no tokenizer")
    return problems


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: one, or those that the index names.

    Raises ValueError if the index cannot be read.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in indexed_files(folder / INDEX)]


def indexed_files(index: Path) -> list[str]:
    """The names that an index gives to the shards, whatever they are; all beside the index.

    Raises ValueError if it cannot be read, or names what is no safetensors file of its folder.
    """
    try:
        names = set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{INDEX} cannot be read") from error
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise ValueError(f"{INDEX} names {str(name)[:80]!r}, which is no shard beside it")
    if not names:
        raise ValueError(f"{INDEX} names no shards")
    return sorted(names)


def read_json(path: Path) -> Any:
    """Raises OSError, or ValueError for what is no JSON or too large, or nested too deeply."""
    if path.stat().st_size > _LARGEST_JSON:
        raise ValueError(f"{path.name} is larger than {_LARGEST_JSON} bytes")
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def gguf_file(place: Path) -> Path | None:
    """The GGUF file that a model is: the place itself, or the only one of a folder.

    None where there are safetensors too, which are taken then, or several.
    """
    if is_gguf(place):
        return place
    files = _gguf_files(place)
    return files[0] if len(files) == 1 else None


def _gguf_files(folder: Path) -> list[Path]:
    """Those of a folder that holds no other weights."""
    if not folder.is_dir() or (folder / WEIGHTS).exists() or (folder / INDEX).exists():
        return []
    return sorted(path for path in folder.iterdir() if is_gguf(path) and path.is_file())


def tokenizer_files(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def config_files(folder: Path) -> list[Path]:
    return [folder / name for name in CONFIG_FILES if (folder / name).is_file()]


def folder_problems(folder: Path) -> list[str]:
    """Why the files of a folder cannot be a whole model; empty if they can. Reads only headers.

    The folder may be a GGUF file.
    """
    if file := gguf_file(folder):
        problem = gguf_facts(file).problem
        return [problem] if problem else []
    if files := _gguf_files(folder):
        names = ", ".join(path.name for path in files)
        return [f"it holds {len(files)} GGUF files ({names}): name one of them, {files[0]}"]
    if not folder.is_dir():
        return ["no such folder"]
    problems = missing_parts(path.name for path in folder.iterdir() if path.is_file())
    if problems:
        return problems
    try:
        headers = [_header(path) for path in weight_files(folder)]
        config = read_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        return [str(error)]
    tensors = sum(len(each.sizes) for each in headers)
    elements = sum(sum(each.sizes) for each in headers)
    wrong = config_problem(config, tensors=tensors, elements=elements)
    return [each.problem for each in headers if each.problem] or ([wrong] if wrong else [])


_SAMPLING = "general.sampling."


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What is to be known of a GGUF file without loading it.

    `sampling`: what it recommends, by llama.cpp's names behind `general.sampling.`.
    """

    problem: str | None = None
    license: str | None = None
    sampling: Mapping[str, object] = field(default_factory=dict)


def gguf_facts(file: Path) -> GgufFacts:
    """Reads its header, once as long as its size and its time of change stay the same."""
    try:
        status = file.stat()
    except OSError:
        return GgufFacts(problem=f"no file {file}")
    return _gguf_facts(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _gguf_facts(file: Path, size: int, changed_ns: int) -> GgufFacts:
    from minivault.gguf.reader import GgufFile  # brings numpy, which a plain command has no use for

    try:
        metadata = GgufFile.open(file).metadata
    except ModelUnusable as error:
        return GgufFacts(problem=str(error))
    license_ = metadata.get("general.license")
    return GgufFacts(
        license=license_[:200] if isinstance(license_, str) else None,
        sampling={
            name.removeprefix(_SAMPLING): value
            for name, value in metadata.items()
            if name.startswith(_SAMPLING)
        },
    )


@dataclass(frozen=True, slots=True)
class _Header:
    """What a safetensors file says of itself: how many numbers each of its tensors has."""

    sizes: tuple[int, ...] = ()
    problem: str | None = None


def _header(path: Path) -> _Header:
    """A safetensors file: eight bytes of length, a JSON header, the data."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER:
                return _Header(problem=f"{path.name} is no safetensors file")
            header = json.loads(file.read(length))
        tensors = [entry for key, entry in header.items() if key != "__metadata__"]
        end = max(int(entry["data_offsets"][1]) for entry in tensors)
        sizes = tuple(math.prod(map(int, entry["shape"])) for entry in tensors)
    except FileNotFoundError:
        return _Header(problem=f"{path.name} is missing")
    except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError):
        return _Header(problem=f"{path.name} is no safetensors file")
    expected, size = 8 + length + end, path.stat().st_size
    if size != expected:
        return _Header(problem=f"{path.name} has {size} bytes, not {expected}")
    if not all(0 <= each <= size for each in sizes):
        return _Header(problem=f"{path.name} names tensors that it cannot hold")
    return _Header(sizes)
