"""What a model's configuration may say: numbers that its weights can hold, and no foreign format.

Whoever loads a model makes as many layers as the configuration names, and tables as wide; so a
number is looked at before anybody believes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_LAYERS = re.compile(r"(n|num)_(\w+_)?layers?")
_POSITIONS = re.compile(r"(n|num|max|original)_\w*(positions?|ctx|embeddings|length|seq_len)")
_SIZES = re.compile(r"\w*(size|dim|width|inner|embd|d_model|d_inner|d_ff|rank|channels)")
_COUNTS = re.compile(r"(n|num)_\w+")
_MOST_POSITIONS = 2**27
_MOST = 2**16  # heads, groups, experts
_READABLE_METHODS = {"fp8", "mxfp4"}  # transformers unpacks them by itself


def config_problem(config: Any, *, tensors: int, elements: int) -> str | None:
    """What is wrong with a configuration, for weights of so many tensors and numbers."""
    if not isinstance(config, dict):
        return "config.json holds no JSON object"
    quantized, method = None, config.get("quantization_config")
    if isinstance(config.get("quantization"), dict):
        quantized = "for MLX (Apple)"
    elif isinstance(method, dict) and method.get("quant_method") not in _READABLE_METHODS:
        quantized = f"by {str(method.get('quant_method') or 'a method that it does not name')[:40]}"
    if quantized:
        return f"its weights are quantized {quantized}, which is not read; wanted are plain weights"
    for name, value in _numbers(config):
        most = _most(name.rpartition(".")[2], tensors, elements)
        if most is not None and not abs(value) <= most:
            return (
                f"config.json says {name} = {str(value)[:20]}; these weights allow {most} at most"
            )
    return None


def _most(name: str, tensors: int, elements: int) -> int | None:
    """The largest value that a field of this name can have, if it is a count or a size."""
    if _LAYERS.fullmatch(name):
        return tensors
    if _POSITIONS.fullmatch(name):
        return _MOST_POSITIONS
    if _SIZES.fullmatch(name):
        return max(elements, _MOST)
    return _MOST if _COUNTS.fullmatch(name) else None


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    """All numbers of a configuration, by their names (`rope_parameters.factor`)."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _numbers(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value
