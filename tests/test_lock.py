"""The lock holds what pyproject.toml asks for, for every Python, and is what is installed here."""

from __future__ import annotations

import json
import os
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from scripts.lock import CLIENTS_LOCK, DEPLOY_LOCK, SECTIONS, read

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = read()

#: Python, system and machine of everybody who installs from it.
PLACES = [
    (python, system, machine)
    for python in ("3.11", "3.12", "3.13", "3.14")
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]

locked_only = pytest.mark.skipif(
    os.environ.get("MINIVAULT_UNLOCKED") == "1",
    reason="`make test-lowest` and `test-newest` install something else on purpose",
)


def locked(*sections: str, **place: str) -> dict[NormalizedName, Requirement]:
    """What is installed from these sections in a place, by name."""
    lines = [Requirement(line) for name in sections for line in LOCK[name]]
    here = [each for each in lines if each.marker is None or each.marker.evaluate(place)]
    found = {canonicalize_name(each.name): each for each in here}
    assert len(found) == len(here), "one package twice"
    return found


def place_of(python: str, system: str, machine: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
    }


def wanted() -> dict[str, list[str]]:
    """The requirements of pyproject.toml, by the section that holds them at the latest."""
    groups = PROJECT["dependency-groups"]
    return {
        "serve": [*PROJECT["project"]["dependencies"], *groups["build"]],
        "compiler": PROJECT["project"]["optional-dependencies"]["compiler"],
        "cluster": PROJECT["project"]["optional-dependencies"]["cluster"],
        "develop": groups["dev"],
        "s3": groups["s3"],
    }


@pytest.mark.parametrize("python, system, machine", PLACES)
def test_the_lock_holds_what_the_project_asks_for(python: str, system: str, machine: str) -> None:
    found = locked(*SECTIONS, **place_of(python, system, machine))
    for requirement in map(Requirement, sum(wanted().values(), [])):
        pinned = found.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement} is not in the lock: make lock"
        [version] = pinned.specifier
        assert requirement.specifier.contains(version.version), (
            f"{pinned}, {requirement}: make lock"
        )


def test_serving_needs_nothing_from_the_sections_for_developers() -> None:
    found = locked("serve", "torch")
    missing = [
        each for each in wanted()["serve"] if canonicalize_name(Requirement(each).name) not in found
    ]
    assert missing == []


def test_every_file_has_its_hash_but_torch() -> None:
    assert list(LOCK["torch"]) == list(LOCK["torch"].values())
    for name in SECTIONS.keys() - {"torch"}:
        bare = [line for line, block in LOCK[name].items() if "--hash=sha256:" not in block]
        assert bare == []


def test_what_checks_the_deployment_has_a_lock_of_its_own() -> None:
    lines = read(DEPLOY_LOCK)["deploy"]
    pinned = {each.name: each for each in map(Requirement, lines)}
    for requirement in map(Requirement, PROJECT["dependency-groups"]["deploy"]):
        [version] = pinned[requirement.name].specifier
        assert requirement.specifier.contains(version.version), "make lock"
    assert all("--hash=sha256:" in block for block in lines.values())


BY_THEMSELVES = {"cluster", "compiler", "cuda", "s3"}  # sections that `make test` does not bring


@locked_only
def test_what_is_installed_is_what_is_locked() -> None:
    sections = set(SECTIONS) - BY_THEMSELVES
    different = {
        name: (metadata.version(name), str(requirement))
        for name, requirement in locked(*sections).items()
        if not requirement.specifier.contains(metadata.version(name))
    }
    assert different == {}, "make install, or make lock"


@locked_only
def test_what_is_installed_needs_nothing_that_is_not_locked() -> None:
    found = locked(*SECTIONS)
    for name in locked(*set(SECTIONS) - BY_THEMSELVES):
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.name != "pip" and (
                needed.marker is None or needed.marker.evaluate({"extra": ""})
            ):
                assert canonicalize_name(needed.name) in found, f"{name} needs {needed}: make lock"


def test_the_docs_name_the_versions_of_the_clients_that_are_locked() -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    told = re.findall(r"(npm )?`([@\w/-]+)` ([\d.]+\d)", page)
    clients = [line for section in read(CLIENTS_LOCK).values() for line in section]
    pinned = {line.split(" ")[0] for line in [*clients, *LOCK["shared"], *LOCK["develop"]]}
    package = json.loads((ROOT / "tests" / "clients" / "package.json").read_text(encoding="utf-8"))
    pinned |= {f"npm {name}=={version}" for name, version in package["dependencies"].items()}
    assert len(told) > 10
    wrong = {f"{npm}{name}=={version}" for npm, name, version in told} - pinned
    assert wrong == set(), "docs/clients.md names other versions than the lock"
