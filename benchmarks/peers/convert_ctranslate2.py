"""Writes a model folder in CTranslate2's format: `python -m … FOLDER OUTPUT WIDTH PROMPT_IDS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ctranslate2.converters  # type: ignore[import-not-found]  # in the peers' environment
from tokenizers import Tokenizer


def convert(folder: Path, output: Path, width: str, prompt_ids: list[int]) -> None:
    """CTranslate2 takes words, not numbers: the prompt's are written beside the model."""
    converter = ctranslate2.converters.TransformersConverter(str(folder))
    converter.convert(str(output), quantization=width, force=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = [tokenizer.id_to_token(each) or "" for each in prompt_ids]
    _name_special_words(output / "config.json", words[0])
    (output / "prompt.txt").write_text("\n".join(words), encoding="utf-8")


def _name_special_words(file: Path, word: str) -> None:
    """It wants a begin and an end; our model has none, and all texts are of full length."""
    config = json.loads(file.read_text(encoding="utf-8"))
    missing = {
        name: word for name, value in config.items() if name.endswith("_token") and not value
    }
    file.write_text(json.dumps(config | missing), encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
