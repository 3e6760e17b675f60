"""Everything behind the doors: vault, registry, model. The server and the command line share it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from minivault.backends import optional
from minivault.backends.base import Backend, ModelInfo
from minivault.background import describe, in_thread, kind, start_task
from minivault.errors import CannotStart
from minivault.generations import GenerationIds, Generations, Registry
from minivault.libraries import untested
from minivault.loading import ModelLoading, started
from minivault.metrics import Metrics
from minivault.settings import Settings
from minivault.stage import Stage
from minivault.standard_streams import lost_lines
from minivault.trace import trace
from minivault.vault import Vault
from minivault.vault.private_file import require_usable
from minivault.vault.publishing.publisher import Publisher, open_publisher
from minivault.vault.secret import load_secret

logger = logging.getLogger("minivault")


class Service:
    """`Service.opened`, then `start` in the event loop, and at the end `close`.

    `drain` may be called from a signal handler at any time; all else belongs to the event loop.
    """

    @classmethod
    def opened(cls, settings: Settings, backend: Backend | None = None) -> Service:
        """What can be said before the port is bound: is the log usable, can the model be?

        `backend`: use this one instead of the one that the settings name.
        Recovers what an earlier process left open. Raises CannotStart or ChainBroken.
        """
        stage = Stage()
        for library in untested():
            stage.warn(f"MiniVault was not tested with {library}; see minivault doctor")
        loading = ModelLoading(settings, stage)
        if backend is None:
            loading.choose()
        require_usable(settings.logs_dir)  # before anything is written there
        secret = load_secret(settings.secret_file or settings.logs_dir / "secret")
        vault = Vault(
            settings.logs_dir,
            store_text=settings.store_text,
            max_bytes=settings.log_max_bytes,
            keep_files=settings.log_keep_files,
            keep_days=settings.log_keep_days,
            signing_key=settings.signing_key,
            secret=secret,
        )
        publisher = open_publisher(settings)
        vault.open()
        return cls(settings, stage, loading, vault, publisher, secret, backend)

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        loading: ModelLoading,
        vault: Vault,
        publisher: Publisher,
        secret: bytes,
        backend: Backend | None,
    ) -> None:
        self.settings = settings
        self.stage = stage
        self.vault = vault
        self.publisher = publisher
        self.secret = secret
        self.metrics = Metrics()
        self.registry = Registry(
            vault,
            GenerationIds(secret),
            max_running=settings.most_running,
            max_waiting=settings.max_waiting,
            callers=len(settings.api_key),
            metrics=self.metrics,
        )
        self.generations = Generations(self.registry)
        self.crowded: Callable[[], bool] = lambda: False  # the server's to say
        self._backend = backend
        self._loading = loading
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Begins to load the model; returns at once."""
        self.metrics.bind(self.statistics)
        loop = asyncio.get_running_loop()
        forget = self.registry.shelf.forget
        self.vault.on_redaction(lambda seq: loop.call_soon_threadsafe(forget, seq))
        self.publisher.start()
        self._ready = loop.create_future()
        self._task = start_task(self._load(), failed=self._failed)

    async def ready(self) -> None:
        """Returns when the model serves. Raises CannotStart if it cannot."""
        assert self._ready is not None
        await asyncio.shield(self._ready)

    @property
    def info(self) -> ModelInfo:
        """The model that serves. Raises Loading."""
        return self.registry.open_backend().info

    @property
    def model(self) -> str:
        """The model that is or will be served, and why, as a line for people."""
        if self._backend is not None:
            return self._backend.info.name
        return self._loading.summary

    def problem(self) -> str | None:
        """Why no work can be taken now; None if it can. For `/health`."""
        if self.registry.draining:
            return "the server is shutting down"
        if self.stage.status != "ready":
            return self.stage.detail
        if self.crowded():
            return "all connections that this server can have are in use"
        if reason := self.vault.problem:
            return f"the log cannot be written: {reason}"
        reason = self.engine_problem()
        return f"the engine does not work: {reason}" if reason else None

    def statistics(self) -> Mapping[str, float]:
        """All gauges, for `/metrics`."""
        counts = self.registry.statistics()
        gauges = {
            "num_requests_running": counts["running"],
            "num_requests_waiting": counts["waiting"],
            "num_followers": counts["followers"],
            "num_kept": counts["kept"],
        }
        gauges |= {f"vault_{name}": value for name, value in self.vault.statistics().items()}
        published = self.publisher.statistics(self.vault.seq)
        gauges |= {f"vault_{name}": value for name, value in published.items()}
        engine = optional.statistics(self.registry.backend)
        gauges |= {f"engine_{name}": value for name, value in engine.items()}
        backend = self.registry.backend
        notices = filter(None, (self.stage.notice, backend and backend.info.notice))
        warnings = len([*self.warnings, *notices])
        return gauges | {"warnings": warnings, "terminal_lines_lost": lost_lines()}

    @property
    def warnings(self) -> list[str]:
        """What costs speed, memory or a promise now, in sentences."""
        return [*self.stage.warnings, *self.publisher.warnings()]

    def engine_problem(self) -> str | None:
        """Why the backend cannot work now, as far as it can tell; another process might."""
        try:
            return optional.problem(self.registry.backend)
        except BaseException as error:  # noqa: BLE001 - one that cannot tell is not well
            return f"asking it raised {kind(error)}"

    def drain(self) -> None:
        """No new work from now on. Any thread, also in a signal handler."""
        self.registry.drain()

    async def drained(self) -> None:
        """Lets what runs go on for the drain time, then ends it as interrupted; all is recorded."""
        self.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.registry.idle(), self.settings.drain)
        await self.registry.interrupt()

    async def close(self) -> None:
        """Ends what is still open, writes the last records, frees the model."""
        self.drain()
        self._loading.close()
        await self.registry.interrupt()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            await optional.close(self.registry.backend)
        except Exception as error:  # noqa: BLE001 - the records are to be written all the same
            logger.error("the backend could not be closed:\n%s", trace(error))
        finally:
            await in_thread(self.vault.close)
            await in_thread(self.publisher.close)

    async def _load(self) -> None:
        assert self._ready is not None
        backend = await (started(self._backend) if self._backend else self._loading.load())
        for sentence in optional.lacks(backend):
            self.stage.warn(sentence)
        self.registry.serve(backend)
        self.stage.status, self.stage.detail = "ready", f"{backend.info.name} serves"
        self._ready.set_result(None)
        if self._backend is None:
            await self._loading.download()

    def _failed(self, error: Exception) -> None:
        """The model cannot be had, for whatever reason: whoever waits for it is told."""
        assert self._ready is not None
        if self._ready.done():
            logger.error("the work after the model was loaded failed:\n%s", trace(error))
            return
        if not isinstance(error, CannotStart):
            logger.debug("the model cannot be loaded:\n%s", trace(error))
            error = CannotStart(f"the model cannot be loaded: {describe(error)}")
        self.registry.backend = None
        self.stage.status, self.stage.detail = "failed", str(error)
        self._ready.set_exception(error)
        self._ready.exception()  # told by /health too; nobody has to wait for it
