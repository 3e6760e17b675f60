"""The one model in the format that each contender reads, written once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.peers.contenders import TYPES, Contender
from benchmarks.peers.unpack_gguf import unpack
from minivault.bench.models import SHAPES, make_random_model

REPOSITORY = Path(__file__).parents[2]


class Source(Protocol):
    """Where the model comes from."""

    name: str

    def make_folder(self, folder: Path) -> None:
        """Writes it as transformers does."""
        ...

    def gguf_command(self, folder: Path, file: Path, kind: str) -> list[str]:
        """What the peers' environment runs to write it as GGUF."""
        ...


class RandomShape:
    """Random weights of a GPT-2's shape."""

    def __init__(self, shape: str) -> None:
        self.name = f"{shape}'s shape"
        self._shape = SHAPES[shape]

    def make_folder(self, folder: Path) -> None:
        make_random_model(folder, self._shape)

    def gguf_command(self, folder: Path, file: Path, kind: str) -> list[str]:
        return ["convert_gguf", str(folder), str(file), kind]


class GgufFile:
    """A model that lies there as a GGUF file; other types are made of it by llama.cpp."""

    def __init__(self, file: Path) -> None:
        stem, _, kind = file.stem.rpartition(".")
        self.name = stem if kind in TYPES.values() else file.stem
        self._file = file

    def make_folder(self, folder: Path) -> None:
        unpack(self._file, folder)

    def gguf_command(self, folder: Path, file: Path, kind: str) -> list[str]:
        return ["quantize_gguf", str(self._file), str(file), kind]


class Models:
    """A source's model and its conversions, in one folder."""

    def __init__(self, place: Path, source: Source, python: Path) -> None:
        """`python` is the peers' own: the converters are theirs."""
        self._place = place
        self._source = source
        self._python = python
        self.folder = place / "folder"
        if not (self.folder / "tokenizer.json").exists():
            source.make_folder(self.folder)

    def path(self, contender: Contender, prompt_ids: Sequence[int]) -> Path:
        """What the contender reads. Raises CalledProcessError if it cannot be written."""
        if contender.format == "gguf":
            return self.gguf(contender.own_width)
        if contender.format == "ctranslate2":
            return self._ctranslate2(contender.width, prompt_ids)
        return self.folder

    def gguf(self, kind: str) -> Path:
        """The model as a file whose matrices are of this type."""
        file = self._place / f"{kind}.gguf"
        if not file.exists():
            draft = file.with_suffix(".draft")
            command = self._source.gguf_command(self.folder, draft, kind)
            self._convert(*command)
            draft.rename(file)
        return file

    def _ctranslate2(self, width: str, prompt_ids: Sequence[int]) -> Path:
        folder = self._place / f"ctranslate2-{width}-{len(prompt_ids)}"
        if not (folder / "prompt.txt").exists():
            ids = json.dumps(list(prompt_ids))
            self._convert("convert_ctranslate2", str(self.folder), str(folder), width, ids)
        return folder

    def _convert(self, module: str, *arguments: str) -> None:
        command = [str(self._python), "-m", f"benchmarks.peers.{module}", *arguments]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
