"""Writes a GPT-2 folder as GGUF, the format of llama.cpp: `python -m … FOLDER FILE TYPE`.

With the `gguf` package's own names and quantization. Quantized types hold for matrices; vectors and
the positions stay in F32, as llama.cpp's own converter keeps them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

Type = gguf.GGMLQuantizationType

_FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


def convert(folder: Path, file: Path, kind: str) -> None:
    """Writes the model of `folder` to `file`, its matrices as F32, BF16 or Q8_0."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(file, "gpt2")
    _write_measures(writer, config)
    writer.add_file_type(_FILE_TYPES[kind])
    _write_tokenizer(writer, folder, config["vocab_size"])
    _write_weights(writer, load_file(folder / "model.safetensors"), config["n_layer"], Type[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_measures(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def _write_tokenizer(writer: Any, folder: Path, size: int) -> None:
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    words = sorted(model["vocab"], key=model["vocab"].__getitem__)[:size]
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(words))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _write_weights(writer: Any, weights: dict[str, np.ndarray], layers: int, kind: Any) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, layers)
    for name, tensor in weights.items():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ValueError(f"GGUF has no name for {name}")
        # GPT-2 keeps its matrices the other way round (Conv1D).
        matrix = tensor.T.copy() if ".h." in name and tensor.ndim == 2 else tensor
        plain = tensor.ndim == 1 or name.endswith("wpe.weight")
        _add(writer, target, matrix, Type.F32 if plain else kind)
        if name.endswith("wte.weight"):
            _add(writer, "output.weight", matrix, kind)


def _add(writer: Any, name: str, tensor: np.ndarray, kind: Any) -> None:
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
