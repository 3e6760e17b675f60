"""Where the files lie that are no Python: in the package, or beside it in a checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path

from minivault.errors import CannotStart

PACKAGE = Path(__file__).resolve().parent


def resource(name: str, *, package: Path = PACKAGE) -> Path:
    """The file or folder `name`: "static", "templates" or "models/storyteller".

    A wheel carries them inside the package. A checkout has them beside it, and counts only if
    MiniVault's own pyproject.toml lies there: a stranger's folder of the same name never does.
    Raises CannotStart if it is in neither place.
    """
    packaged = package / name
    if packaged.exists():
        return packaged
    beside = package.parent / name
    if _is_checkout(package.parent) and beside.exists():
        return beside
    raise CannotStart(
        f"{name} is missing from the installation in {package}; install MiniVault again"
    )


def _is_checkout(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "minivault")
