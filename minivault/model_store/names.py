"""The names of models: which are names, which are paths, and which repository a name means."""

from __future__ import annotations

import os
import re
from pathlib import Path

from minivault.errors import ModelNotFound

DEFAULT = "distilgpt2"
STORYTELLER = "storyteller"

_HUB_IDS = {DEFAULT: "distilbert/distilgpt2"}
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")


def is_path(asked: str) -> bool:
    """Whether a folder is meant: `/…`, `./…`, `~/…`, or something with a slash that exists."""
    if asked.startswith(("/", "./", "../", "~")) or asked in (".", ".."):
        return True
    return os.sep in asked and Path(asked).is_dir()


def canonical(name: str) -> str:
    """The one spelling of a name, which is also its folder: distilbert/distilgpt2 is distilgpt2.

    Raises ModelNotFound for what can be no name.
    """
    if not _NAME.fullmatch(name):
        raise ModelNotFound(
            f"{name[:80]!r} can be no model: a name has up to 64 letters, digits, dots, dashes and "
            "underscores; a hub id is two such with a slash between; a folder begins with ./ or /"
        )
    return next((short for short, hub in _HUB_IDS.items() if hub == name), name)


def hub_id(name: str) -> str:
    """The repository of the hub that holds the model `name`."""
    return _HUB_IDS.get(name, name)


def is_on_hub(name: str) -> bool:
    """Whether a name itself says that the hub has it: distilgpt2, or one with an organisation."""
    return name in _HUB_IDS or "/" in name


def name_of_folder(folder: Path) -> str:
    """What a model given as a path is called: its folder's name, in letters for any header."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name)[:64].lstrip(".") or "model"
