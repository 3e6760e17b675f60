"""A download: everything is collected beside the models, checked, and moved into place as a whole.

`.downloads/<name>/` holds finished files, and unfinished ones as `<file>.<hash>.part`; the next try
goes on there. Through the hash a part is never continued with the bytes of another version.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import httpx2

from minivault.background import describe
from minivault.errors import DownloadFailed, MiniVaultError
from minivault.model_store.files import INDEX, indexed_files
from minivault.model_store.hub import Listing, RemoteFile, ask, refusal
from minivault.model_store.manifest import FileRecord, Manifest, read_manifest
from minivault.model_store.model import problems_of
from minivault.model_store.progress import Deadlines, Progress, Report
from minivault.model_store.transfer import receive

DOWNLOADS = ".downloads"


class Download:
    """One model on its way from the hub into the store's folder. Used once, from one thread."""

    def __init__(self, name: str, store: Path, deadlines: Deadlines, report: Report) -> None:
        self.name = name
        self.place = store / name
        self.folder = store / DOWNLOADS / name.replace("/", "--")
        self.deadlines = deadlines
        self._report = report

    def run(self, revision: str | None) -> None:
        """Download what is missing, check it, move it into place. Raises DownloadFailed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._run(revision)
        except httpx2.HTTPError as error:
            raise DownloadFailed(refusal(error, self.name)) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise DownloadFailed(f"{self.name}: cannot write to {self.folder}: {reason}") from error
        except MiniVaultError:
            raise
        except BaseException as error:  # this thread is the download's own
            raise DownloadFailed(
                f"{self.name}: the download broke off: {describe(error)}"
            ) from error

    def _run(self, revision: str | None) -> None:
        if revision is None and self._came_meanwhile():
            return
        self._refuse_to_replace()
        self._report(Progress(self.name, "asking"))
        listing = ask(self.name, revision, seconds=self.deadlines.first_answer)
        listing = self._with_shards(listing)
        parts = {self._part(file).name for file in listing.files}
        wanted = parts | {file.name for file in listing.files}
        for path in self.folder.iterdir():
            if path.name not in wanted:  # of another version
                path.unlink()
        missing = listing.size - self._bytes_here(listing)
        free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise DownloadFailed(
                f"{self.name} needs {missing / 1e6:.0f} MB in {self.folder}, "
                f"where {free / 1e6:.0f} MB are free"
            )
        records = {file.name: self._fetch(file, listing) for file in listing.files}
        self._write_manifest(records, repository=listing.repository, commit=listing.commit)
        self._move_into_place()
        self._report(Progress(self.name, "whole", listing.size, listing.size))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes and threads away from this download; wait if one was first."""
        with self.folder.with_suffix(".lock").open("w") as lock:
            while not _locked(lock):
                self._report(Progress(self.name, "waiting"))
                time.sleep(0.1)
            self.folder.mkdir(exist_ok=True)  # whoever was first moved it away
            yield

    def _came_meanwhile(self) -> bool:
        return not problems_of(self.place)

    def _refuse_to_replace(self) -> None:
        """Only what MiniVault downloaded itself may be replaced."""
        if not self.place.is_dir() or not any(self.place.iterdir()):
            return
        try:
            manifest = read_manifest(self.place)
        except ValueError:
            return
        if manifest is None:
            problems = "; ".join(problems_of(self.place)) or "it was put there by hand"
            raise DownloadFailed(f"{self.place} is in the way ({problems}); move it away first")

    def _fetch(self, file: RemoteFile, listing: Listing) -> FileRecord:
        """The file, whole and checked; what is here already is not downloaded again."""
        done, part = self.folder / file.name, self._part(file)
        if done.exists():
            done.rename(part)
        part.touch()

        def arrived() -> None:
            here = self._bytes_here(listing)
            self._report(Progress(self.name, "downloading", here, listing.size, file.name))

        receive(file, part, listing.headers, stall=self.deadlines.stall, arrived=arrived)
        sha256 = self._checked(file, part)
        part.rename(done)
        return FileRecord(size=file.size, sha256=sha256)

    def _with_shards(self, listing: Listing) -> Listing:
        """The listing with the shards that the index names, if there is one; it is fetched here."""
        index = next((file for file in listing.files if file.name == INDEX), None)
        if index is None:
            return listing
        self._fetch(index, listing)
        try:
            names = indexed_files(self.folder / INDEX)
        except ValueError as error:
            raise DownloadFailed(f"{self.name} cannot be used: {error}") from error
        there = {file.name: file for file in listing.shards}
        if missing := [name for name in names if name not in there]:
            raise DownloadFailed(
                f"{self.name} cannot be used: {INDEX} names {missing[0]}, which is not there"
            )
        files = (*listing.files, *(there[name] for name in names))
        return replace(listing, files=files)

    def _part(self, file: RemoteFile) -> Path:
        tag = (file.sha256 or file.blob or "")[:12]
        return self.folder / f"{file.name}.{tag}.part"

    def _bytes_here(self, listing: Listing) -> int:
        paths = [p for file in listing.files for p in (self.folder / file.name, self._part(file))]
        return sum(path.stat().st_size for path in paths if path.exists())

    def _checked(self, file: RemoteFile, part: Path) -> str:
        """The sha256 of a received file. Raises DownloadFailed if the hub announced another one."""
        sha256 = _digest(part, "sha256")
        given, found = file.sha256, sha256
        if given is None and file.blob:
            given, found = file.blob, _digest(part, "sha1", b"blob %d\0" % file.size)
        if given and given != found:
            part.unlink()
            raise DownloadFailed(
                f"{self.name}: {file.name} is not what the hub announced (its hash differs); "
                "it was thrown away, try again"
            )
        return sha256

    def _write_manifest(self, records: dict[str, FileRecord], **source: str | None) -> None:
        """`source`: the manifest's fields that say where the files came from."""
        for name in records:
            _make_durable(self.folder / name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        Manifest.model_validate({"downloaded": now, "files": records, **source}).write(self.folder)

    def _move_into_place(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        old = self.folder.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.place.exists():
            self.place.rename(old)
        self.folder.rename(self.place)
        _make_durable(self.place.parent)
        shutil.rmtree(old, ignore_errors=True)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(path: Path, algorithm: str, prefix: bytes = b"") -> str:
    """The hash of a file; with its prefix it is git's own id of a blob."""
    digest = hashlib.new(algorithm, prefix, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
