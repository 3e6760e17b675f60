"""A model of transformers, filled from a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minivault.engine.transformers.library import library
from minivault.errors import ModelUnusable
from minivault.gguf.config import config_of, family_of
from minivault.gguf.reader import GgufFile
from minivault.gguf.weights import weights_of


def gguf_model(path: Path, dtype: torch.dtype) -> Any:
    """The model of a GGUF file, all its weights dequantized to `dtype`.

    Raises ModelUnusable for whatever is not understood, lacking or left over.
    """
    transformers = library()
    file = GgufFile.open(path)
    values = config_of(file)
    config = transformers.AutoConfig.for_model(**values)
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    shapes = _shapes(kind, config)
    weights: dict[str, Tensor] = {}
    for name, weight in weights_of(file, family_of(file), values).items():
        if shapes.get(name) != weight.shape:
            expected = shapes.get(name, "no such tensor")
            raise ModelUnusable(f"{path.name} holds {name} of {weight.shape}; expected: {expected}")
        weights[name] = torch.from_numpy(weight.whole()).to(dtype)
    tied = {"lm_head.weight"} if values["tie_word_embeddings"] else set()
    if lacking := sorted(shapes.keys() - weights.keys() - tied):
        raise ModelUnusable(f"{path.name} lacks {', '.join(lacking[:5])}")
    return kind.from_pretrained(None, config=config, state_dict=weights, dtype=dtype)


def _shapes(kind: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """What the model consists of, found out without any memory for it."""
    with torch.device("meta"):
        skeleton = kind(config)
    return {name: tuple(each.shape) for name, each in skeleton.named_parameters()}
