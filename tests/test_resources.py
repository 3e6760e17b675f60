from __future__ import annotations

from pathlib import Path

import pytest

from minivault.errors import CannotStart
from minivault.resources import resource

OURS = '[project]\nname = "minivault"\n'


def lay(root: Path, *, pyproject: str | None, packaged: bool, beside: bool) -> Path:
    package = root / "minivault"
    package.mkdir()
    if pyproject is not None:
        (root / "pyproject.toml").write_text(pyproject)
    if packaged:
        (package / "static").mkdir()
    if beside:
        (root / "static").mkdir()
    return package


def test_the_storyteller_is_found_in_this_checkout() -> None:
    assert (resource("models/storyteller") / "model.safetensors").is_file()


@pytest.mark.parametrize("beside", [True, False])
def test_the_package_comes_first(tmp_path: Path, beside: bool) -> None:
    package = lay(tmp_path, pyproject=OURS, packaged=True, beside=beside)
    assert resource("static", package=package) == package / "static"


def test_a_checkout_has_its_files_beside_the_package(tmp_path: Path) -> None:
    package = lay(tmp_path, pyproject=OURS, packaged=False, beside=True)
    assert resource("static", package=package) == tmp_path / "static"


@pytest.mark.parametrize(
    "pyproject", [None, '[project]\nname = "other"\n', "[tool.ruff]\n", "no toml at all ["]
)
def test_a_strangers_folder_beside_the_package_does_not_count(
    tmp_path: Path, pyproject: str | None
) -> None:
    package = lay(tmp_path, pyproject=pyproject, packaged=False, beside=True)
    with pytest.raises(CannotStart, match="static is missing from the installation"):
        resource("static", package=package)


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    package = lay(tmp_path, pyproject=OURS, packaged=False, beside=False)
    with pytest.raises(CannotStart, match="static is missing"):
        resource("static", package=package)
