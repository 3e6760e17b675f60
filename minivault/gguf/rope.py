"""How a GGUF file says that positions are told, in the words of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivault.errors import ModelUnusable
from minivault.gguf.fields import Fields
from minivault.gguf.reader import GgufFile

ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")

# Llama 3's own; a file holds but the factors that they lead to.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_TRAINED = 8192


def rope_of(fields: Fields, config: Mapping[str, Any]) -> dict[str, Any]:
    """How positions are told. A rotary width other than the head's is the family's matter."""
    rope: dict[str, Any] = {"rope_theta": fields.number("rope.freq_base", 10000.0)}
    kind = fields.text("rope.scaling.type", "none")
    factor = fields.number("rope.scaling.factor", 1.0)
    trained = fields.whole(
        "rope.scaling.original_context_length", config["max_position_embeddings"]
    )
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {"rope_type": "default", **rope, **_llama3(fields.file, config["head_dim"], rope)}
    if kind == "linear":
        return {"rope_type": "linear", **rope, "factor": factor}
    if kind == "yarn":
        ramp = {
            "beta_fast": fields.number("rope.scaling.yarn_beta_fast", 32.0),
            "beta_slow": fields.number("rope.scaling.yarn_beta_slow", 1.0),
        }
        own = {"factor": factor, "original_max_position_embeddings": trained}
        return {"rope_type": "yarn", **rope, **own, **ramp}
    if kind == "longrope":
        tables = _longrope(fields.file)
        scale = {"attention_factor": fields.number("rope.scaling.attn_factor", 1.0)}
        own = {"original_max_position_embeddings": trained, "factor": factor}
        return {"rope_type": "longrope", **rope, **own, **tables, **scale}
    raise fields.wrong("rope.scaling.type", kind)


def _llama3(file: GgufFile, width: int, rope: Mapping[str, Any]) -> dict[str, Any]:
    """Llama 3's factors, which a file gives as a tensor: the parameters they were made from."""
    tensor = file.tensors.get("rope_freqs.weight")
    if tensor is None:
        return {}
    given = tensor.values().ravel()
    factor = round(float(given.max()), 3) if np.isfinite(given).all() else 0.0
    lengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    smooth = np.clip((_LLAMA3_TRAINED / lengths - low) / (high - low), 0, 1)
    made = 1 / ((1 - smooth) / max(factor, 1.0) + smooth)
    if given.shape != made.shape or not np.allclose(given, made, rtol=1e-3):
        raise ModelUnusable(f"{file.path.name} has factors in rope_freqs.weight unlike Llama 3's")
    own = {"factor": factor, "original_max_position_embeddings": _LLAMA3_TRAINED}
    return {"rope_type": "llama3", **own, **_LLAMA3}


def _longrope(file: GgufFile) -> dict[str, list[float]]:
    tables = {}
    for length in ("short", "long"):
        tensor = file.tensors.get(f"rope_factors_{length}.weight")
        if tensor is None:
            raise ModelUnusable(f"{file.path.name} lacks the tensor rope_factors_{length}.weight")
        tables[f"{length}_factor"] = [float(each) for each in tensor.values().ravel()]
    return tables
