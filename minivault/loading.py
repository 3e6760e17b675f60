"""Brings the model to the server: chooses, downloads and loads it, and says how far it is."""

from __future__ import annotations

import logging

from minivault.backends import optional
from minivault.backends.base import Backend
from minivault.backends.named import backend_class
from minivault.backends.upstream import UpstreamBackend
from minivault.background import describe, in_thread
from minivault.errors import CannotStart, DownloadFailed, ModelUnusable
from minivault.model_store import STORYTELLER, Choice, ModelStore, Progress, StoredModel
from minivault.settings import Settings
from minivault.stage import Stage

MOST_RUNNING = 256  # texts in the batch of a model in this process

logger = logging.getLogger("minivault")


class ModelLoading:
    """Loads the backend that the settings name. `choose` first, then `load`, once each."""

    def __init__(self, settings: Settings, stage: Stage) -> None:
        self._settings = settings
        self._stage = stage
        self._store = ModelStore(settings.models_dir, offline=settings.offline)
        self._choice: Choice | None = None
        self._closing = False

    def choose(self) -> None:
        """Decides what is served. Raises CannotStart for a name or a number that cannot be."""
        if self._settings.upstream:
            self._stage.wanted = self.summary
        elif self._settings.backend in (None, "local"):
            if self._settings.max_running > MOST_RUNNING:
                raise CannotStart(
                    f"--max-running {self._settings.max_running}: a model in this process makes "
                    f"at most {MOST_RUNNING} texts at once"
                )
            self._choice = self._store.choose(self._settings.model)
            self._stage.wanted = self._choice.wanted
            self._stage.notice = self._choice.why
        else:
            backend_class(str(self._settings.backend))
            self._stage.wanted = self._settings.backend

    async def load(self) -> Backend:
        """The backend, started. Raises CannotStart if it was asked for and cannot be had."""
        settings = self._settings
        if settings.upstream:
            keys = [key.get_secret_value() for key in settings.upstream_key]
            upstream = UpstreamBackend(
                settings.upstream,
                key=keys[0] if keys else None,
                limit=settings.upstream_limit,
                same_bytes=settings.upstream_same_bytes,
                splice=settings.splice,
            )
            return await started(upstream)
        if self._choice is None:
            backend: Backend = backend_class(str(self._settings.backend))()
            return await started(backend)
        model = self._choice.model or await self._pull(self._choice.wanted)
        try:
            return await self._local(model)
        except ModelUnusable as error:
            if self._settings.model is not None or model.name == STORYTELLER:
                raise
            self._stage.notice = f"{error}; the storyteller serves instead"
            logger.warning("%s", self._stage.notice)
            return await self._local(self._store.get(STORYTELLER))

    async def download(self) -> None:
        """Brings the model that another one stands in for; the next start serves it."""
        if self._choice is None or self._choice.model is None or not self._choice.download:
            return
        wanted = self._choice.wanted
        try:
            await self._pull(wanted)
        except Exception as error:  # noqa: BLE001 - whatever it was, the storyteller serves
            why = str(error) if isinstance(error, CannotStart) else describe(error)
            self._stage.notice = (
                f"{wanted} is not here, so the storyteller serves: {why}. "
                f"“minivault pull {wanted}” tries again"
            )
        else:
            self._stage.notice = f"{wanted} is downloaded; the next start serves it"
        self._stage.progress = None
        logger.warning("%s", self._stage.notice)

    @property
    def summary(self) -> str:
        """What will serve, as a line for people."""
        if self._settings.upstream:
            return ", ".join(self._settings.upstream)
        if self._choice is None:
            return str(self._settings.backend)
        name = self._choice.model.name if self._choice.model else self._choice.wanted
        return f"{name} ({self._choice.why})" if self._choice.why else name

    def close(self) -> None:
        """Ends a download under way; the next one goes on where it stopped."""
        self._closing = True

    async def _local(self, model: StoredModel) -> Backend:
        self._stage.detail = f"{model.name} is being loaded"
        return await started(backend_class("local")(self._settings, model))

    async def _pull(self, name: str) -> StoredModel:
        self._stage.detail = f"{name} is being downloaded"
        return await in_thread(self._store.pull, name, progress=self._report)

    def _report(self, progress: Progress) -> None:
        if self._closing:
            raise DownloadFailed("the server shut down; the next start goes on with it")
        if not progress.total:
            return
        self._stage.progress = progress.done / progress.total
        share = f"{progress.done / 2**20:.0f} of {progress.total / 2**20:.0f} MiB"
        if self._stage.status == "loading":
            self._stage.detail = f"{progress.name} is being downloaded: {share}"
        else:
            self._stage.notice = (
                f"{progress.name} is being downloaded ({share}); the storyteller serves meanwhile"
            )


async def started(backend: Backend) -> Backend:
    """Calls the backend's own `start` where it has one. Raises CannotStart."""
    try:
        await optional.start(backend)
    except CannotStart:
        raise
    except Exception as error:
        logger.debug("the backend could not start", exc_info=True)
        raise CannotStart(f"the backend could not start: {describe(error)}") from error
    return backend
