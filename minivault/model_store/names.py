"""The names of models: which are names, which are paths, and which repository a name means."""

from __future__ import annotations

import os
import re
from pathlib import Path

from minivault.errors import ModelNotFound
from minivault.gguf import is_gguf
from minivault.model_store.packages import PACKAGES

DEFAULT = "distilgpt2"
STORYTELLER = "storyteller"

_HUB_IDS = {DEFAULT: "distilbert/distilgpt2"}
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")


def is_path(asked: str) -> bool:
    """Whether a path is meant: `/…`, `./…`, `~/…`, a folder with a slash in it, any `….gguf`."""
    if is_gguf(Path(asked)) or asked.startswith(("/", "./", "../", "~")) or asked in (".", ".."):
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


def can_be_pulled(name: str) -> bool:
    """Whether a name itself says where it comes from: ours, or one with an organisation."""
    return name in _HUB_IDS or name in PACKAGES or "/" in name


def name_of_folder(folder: Path) -> str:
    """What a model given as a path is called: its folder's name, in letters for any header.

    Of a GGUF file the name without its ending.
    """
    name = folder.resolve().name
    name = name[:-5] if is_gguf(folder) else name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64].lstrip(".") or "model"
