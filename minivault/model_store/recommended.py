"""The parameters that a model's makers recommend: in its files, or where we know them from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

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
    By the names of our parameters; what is out of their bounds, or no number, is left out, see
    `left_out`. A file that says how to draw and names no penalty means none, as whatever reads such
    files has it.
    """
    said = _said(path)
    found = {name: _number(each) for name, each in said.items() if _complaint(name, each) is None}
    return {"repetition_penalty": 1.0, **found} if found else dict(package_recommends(sha256))


def left_out(path: Path) -> Iterator[str]:
    """What is recommended there and cannot be used, in sentences."""
    for name, value in _said(path).items():
        if complaint := _complaint(name, value):
            yield f"its makers recommend {name} {value!r:.40}, which is left out: {complaint}"


def _said(path: Path) -> Mapping[str, object]:
    if path.is_dir():
        said = _generation_config(path)
    else:
        own = gguf_facts(path).sampling
        told = {name: own.get(_OF_GGUF.get(name, name)) for name in _NAMES}
        said = {**told, **_generation_config(path.parent)}
    return {name: said[name] for name in _NAMES if said.get(name) is not None}


def _generation_config(folder: Path) -> Mapping[str, object]:
    try:
        said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _number(value: object) -> float:
    """As it was written: a file may have rounded 0.6 to the nearest that 32 bits can hold."""
    return round(value, 6) if isinstance(value, float) else value  # type: ignore[return-value]


def _complaint(name: str, value: object) -> str | None:
    """Why a value cannot be used; None if it can."""
    try:
        _NAMES[name].model_validate({name: value}, strict=True)
    except ValidationError as error:
        return error.errors()[0]["msg"].replace("Input should be", "it should be")
    return None
