"""The one model in the format that each contender reads, written once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.contenders import Contender
from minivault.bench.models import SHAPES, make_random_model

REPOSITORY = Path(__file__).parents[2]


class Models:
    """The random model of a shape and its conversions, in one folder."""

    def __init__(self, place: Path, shape: str, python: Path) -> None:
        """`python` is the peers' own: the converters are theirs."""
        self._place = place / shape
        self._python = python
        self.folder = self._place / "folder"
        if not (self.folder / "tokenizer.json").exists():
            make_random_model(self.folder, SHAPES[shape])

    def path(self, contender: Contender, prompt_ids: Sequence[int]) -> Path:
        """What the contender reads. Raises CalledProcessError if it cannot be written."""
        if contender.format == "gguf":
            return self._gguf(contender.own_width)
        if contender.format == "ctranslate2":
            return self._ctranslate2(contender.width, prompt_ids)
        return self.folder

    def _gguf(self, kind: str) -> Path:
        file = self._place / f"{kind}.gguf"
        if not file.exists():
            self._convert("convert_gguf", str(self.folder), str(file), kind)
        return file

    def _ctranslate2(self, width: str, prompt_ids: Sequence[int]) -> Path:
        folder = self._place / f"ctranslate2-{width}"
        if not (folder / "prompt.txt").exists():
            ids = json.dumps(list(prompt_ids))
            self._convert("convert_ctranslate2", str(self.folder), str(folder), width, ids)
        return folder

    def _convert(self, module: str, *arguments: str) -> None:
        command = [str(self._python), "-m", f"benchmarks.peers.{module}", *arguments]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
