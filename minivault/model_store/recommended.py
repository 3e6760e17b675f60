"""The parameters that a model's makers recommend, in its generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path

from minivault.schemas import Parameters

_NAMES = ("temperature", "top_k", "top_p", "repetition_penalty")


def recommended(folder: Path) -> dict[str, float]:
    """By the names of our parameters; what is out of their bounds, or no number, is left out."""
    file = (folder if folder.is_dir() else folder.parent) / "generation_config.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: said[name] for name in _NAMES if _fits(name, said.get(name))}


def _fits(name: str, value: object) -> bool:
    if value is None:
        return False
    try:
        Parameters.model_validate({name: value}, strict=True)
    except ValueError:
        return False
    return True
