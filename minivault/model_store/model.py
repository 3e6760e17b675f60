"""A model on disk: its folder, what it is made of, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minivault.model_store.files import (
    config_files,
    folder_problems,
    gguf_facts,
    gguf_file,
    tokenizer_files,
    weight_files,
)
from minivault.model_store.manifest import (
    Manifest,
    combined_sha256,
    file_sha256,
    read_manifest,
    wrong_hashes,
    wrong_sizes,
)

Source = Literal["storyteller", "hub", "package", "folder"]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A whole copy of a model.

    `sha256` is the hash of the weights: of one safetensors file its own, as `sha256sum` and the hub
    give it; of several the hash of their `sha256sum` lines, sorted by name. `tokenizer_sha256` and
    `config_sha256` are made in the same way; a GGUF file is all three. `revision` is the commit on
    the hub, `size` in bytes, `license` what a GGUF file says of its own. `folder` may be such a
    file, where a file was asked for.
    """

    name: str
    folder: Path
    sha256: str
    tokenizer_sha256: str
    config_sha256: str
    revision: str | None
    size: int
    source: Source
    license: str | None = None

    @property
    def path(self) -> Path:
        """What is loaded: the folder, or the GGUF file in it."""
        return gguf_file(self.folder) or self.folder


def read_model(
    name: str,
    folder: Path,
    *,
    shipped: bool = False,
    interrupt: Callable[[int], None] | None = None,
) -> StoredModel:
    """The model of a whole folder (see `problems_of`); a manifest saves hashing its files.

    `interrupt` is told of what is hashed; what it raises ends it.
    """
    manifest = read_manifest(folder)
    file = gguf_file(folder)
    if file:
        parts = ([file], [file], [file])
    else:
        parts = (weight_files(folder), tokenizer_files(folder), config_files(folder))
    weights, tokenizer, config = (_sha256(files, manifest, interrupt) for files in parts)
    return StoredModel(
        name=name,
        folder=folder,
        sha256=weights,
        tokenizer_sha256=tokenizer,
        config_sha256=config,
        revision=manifest.commit if manifest else None,
        size=sum(path.stat().st_size for path in {path for files in parts for path in files}),
        source=_source(manifest, shipped=shipped),
        license=gguf_facts(file).license if file else None,
    )


def problems_of(folder: Path, *, read_all: bool = False) -> list[str]:
    """Why a folder is no whole model; empty if it is one.

    Quick: files, sizes, headers. With `read_all` every byte is read and compared with the manifest.
    """
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return [str(error)]
    problems = folder_problems(folder)
    if manifest is None:
        return problems
    problems += [wrong for wrong in wrong_sizes(manifest, folder) if wrong not in problems]
    return problems + (wrong_hashes(manifest, folder) if read_all else [])


def _sha256(
    files: list[Path], manifest: Manifest | None, interrupt: Callable[[int], None] | None
) -> str:
    recorded = manifest.files if manifest else {}
    return combined_sha256(
        {
            path.name: recorded[path.name].sha256
            if path.name in recorded
            else file_sha256(path, interrupt)
            for path in files
        }
    )


def _source(manifest: Manifest | None, *, shipped: bool) -> Source:
    if shipped:
        return "storyteller"
    if manifest and manifest.package:
        return "package"
    return "hub" if manifest and manifest.repository else "folder"
