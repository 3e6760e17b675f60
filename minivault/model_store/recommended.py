"""The parameters that a model's makers recommend: in its files, or where we know them from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from minivault.model_store.files import gguf_facts
from minivault.model_store.packages import package_recommends
from minivault.schemas import Parameters
from minivault.steering import Steering

_NAMES: dict[str, type[BaseModel]] = {
    "temperature": Parameters,
    "top_k": Parameters,
    "top_p": Parameters,
    "repetition_penalty": Parameters,
    "min_p": Steering,
}
_OF_GGUF = {"temperature": "temp", "repetition_penalty": "penalty_repeat"}


def recommended(path: Path, sha256: str) -> dict[str, float]:
    """Of a folder, or of a GGUF file, before which a generation_config.json beside it counts.

    `sha256` is that of the weights: where neither says anything, a package's own table counts.
    By the names of our parameters; what is out of their bounds, or no number, is left out. A file
    that says how to draw and names no penalty means none, as whatever reads such files has it.
    """
    if path.is_dir():
        said = _generation_config(path)
    else:
        own = gguf_facts(path).sampling
        told = {name: own.get(_OF_GGUF.get(name, name)) for name in _NAMES}
        said = {**told, **_generation_config(path.parent)}
    found = {name: _number(said[name]) for name in _NAMES if _fits(name, said.get(name))}
    return {"repetition_penalty": 1.0, **found} if found else dict(package_recommends(sha256))


def _generation_config(folder: Path) -> Mapping[str, object]:
    try:
        said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _number(value: object) -> float:
    """As it was written: a file may have rounded 0.6 to the nearest that 32 bits can hold."""
    return round(value, 6) if isinstance(value, float) else value  # type: ignore[return-value]


def _fits(name: str, value: object) -> bool:
    if value is None:
        return False
    try:
        _NAMES[name].model_validate({name: value}, strict=True)
    except ValueError:
        return False
    return True
