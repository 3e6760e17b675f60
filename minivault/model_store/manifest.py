"""The manifest of a model's folder: where its files came from, their sizes and their sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST = "minivault.json"

_BLOCK = 2**20
_MOST_KNOWN = 256
_known: dict[tuple[Path, int, int], str] = {}


class FileRecord(BaseModel):
    """What one file must be."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """Written last, so that a folder with a manifest once was whole.

    `repository` and `commit` name the place on the hub, `package` the package (name and version) of
    a model that came as one; none of them for a model that ships with MiniVault.
    `downloaded` is a time in UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    repository: str | None = None
    commit: str | None = None
    package: str | None = None
    downloaded: str | None
    files: dict[str, FileRecord]

    def write(self, folder: Path) -> None:
        text = self.model_dump_json(indent=2) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None if it has none. Raises ValueError for an unreadable one."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):  # a GGUF file has no folder of its own
        return None
    except (OSError, ValidationError) as error:
        raise ValueError(f"{MANIFEST} cannot be read") from error


def wrong_sizes(manifest: Manifest, folder: Path) -> list[str]:
    """The files that are missing or have another size than the manifest says."""
    return [
        f"{name} is missing" if size is None else f"{name} has {size} bytes, not {record.size}"
        for name, record in manifest.files.items()
        if (size := _size(folder / name)) != record.size
    ]


def wrong_hashes(manifest: Manifest, folder: Path) -> list[str]:
    """The files of the right size whose bytes are others. Reads all of them."""
    return [
        f"{name} was changed: its sha256 is not the one of the manifest"
        for name, record in manifest.files.items()
        if _size(folder / name) == record.size and _read_sha256(folder / name) != record.sha256
    ]


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def file_sha256(path: Path, interrupt: Callable[[int], None] | None = None) -> str:
    """The sha256 of a file; read once as long as its size and its time of change stay the same.

    `interrupt` is told of every MiB that was read; what it raises ends the reading.
    """
    status = path.stat()
    state = (path, status.st_size, status.st_mtime_ns)
    if state not in _known:
        _known[state] = _read_sha256(path, interrupt)
        for oldest in list(_known)[:-_MOST_KNOWN]:
            _known.pop(oldest, None)
    return _known[state]


def _read_sha256(path: Path, interrupt: Callable[[int], None] | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if interrupt:
                interrupt(len(block))
    return digest.hexdigest()


def combined_sha256(hashes: dict[str, str]) -> str:
    """One hash for several files: of a single one its own, of more the sha256 of what `sha256sum`
    prints for them, sorted by name."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
