"""Writes a GGUF file as the folder that transformers would have, in float32."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import save_file

from minivault.gguf.config import config_of, family_of
from minivault.gguf.reader import GgufFile
from minivault.gguf.tokenizer import tokenizer_of
from minivault.gguf.weights import weights_of

_ARCHITECTURES = {"llama": "LlamaForCausalLM"}


def unpack(path: Path, folder: Path) -> None:
    """Its settings, weights and tokenizer; no token ends a text, so that all are of full length."""
    file = GgufFile.open(path)
    config, family = config_of(file), family_of(file)
    if family.model_type not in _ARCHITECTURES:
        raise SystemExit(f"{path.name} is of the family {family.model_type}, which is not unpacked")
    folder.mkdir(parents=True, exist_ok=True)
    weights = weights_of(file, family, config)
    tensors = {name: weight.values() for name, weight in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = {"architectures": [_ARCHITECTURES[family.model_type]], "dtype": "float32"}
    _write(folder / "config.json", config | told)
    _write(folder / "generation_config.json", {})
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    tokenizer_of(file).backend.save(str(folder / "tokenizer.json"))


def _write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=2), encoding="utf-8")
