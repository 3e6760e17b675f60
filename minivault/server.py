"""How uvicorn is run: the port bound first, a shutdown that loses nothing, no prompt in any log."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import logging.config
import os
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn

from minivault import __version__
from minivault.app import create_app, refuse_workers
from minivault.background import start_task
from minivault.console_log import LOG_CONFIG
from minivault.errors import CannotStart
from minivault.key_strength import SHORTEST, is_weak
from minivault.open_files import connection_limit, shortage
from minivault.protocol import LARGEST_HEAD, DeadlineProtocol
from minivault.service import Service
from minivault.settings import Settings
from minivault.standard_streams import never_waiting
from minivault.system import unnoticed_readers
from minivault.trace import trace

logger = logging.getLogger("minivault")

#: Seconds that clients have to read the last event, once all records are written.
_LAST_WORDS = 1.0

#: Seconds beyond `drain` after which the process ends in any case: nothing may keep it alive.
_PATIENCE = 4.5

#: Connections that wait in the kernel, and how many of them are taken at once: between two such
#: turns idle ones are closed, so that there are never more than there can be files.
_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 16


def serve(settings: Settings, *, workers: int | None = None) -> int:
    """Serves until a signal comes, then ends the process with exit code 0. Main thread only.

    Returns 3 if the model could not be loaded, which was said already. Raises CannotStart for what
    keeps it from beginning at all.
    """
    refuse_workers(str(workers or os.environ.get("WEB_CONCURRENCY", "1")))
    with never_waiting():
        if _serve(settings):
            return 3
    os._exit(0)  # all is written; unloading torch takes seconds on a busy machine


def _serve(settings: Settings) -> bool:
    """Whether it ended by itself, because there was nothing to serve."""
    logging.config.dictConfig(LOG_CONFIG)  # uvicorn's turn comes after the first warnings
    lacks = filter(None, (shortage(settings), unnoticed_readers()))
    listener = listen(settings)
    service = Service.opened(settings)
    for sentence in lacks:
        service.stage.warn(sentence)
    _announce(listener, service, settings)
    server = Server(create_app(settings, service), service)
    if settings.verbose:
        logging.getLogger("minivault.access").setLevel(logging.DEBUG)
    threading.excepthook = _say_thread_ended
    before = service.vault.statistics()["seq"]
    server.run(sockets=[listener])
    if server.told_to_stop:
        written = service.vault.statistics()["seq"] - before
        print(f"stopped  {written} {'record' if written == 1 else 'records'} written", flush=True)
    return not server.told_to_stop


def _say_thread_ended(ended: threading.ExceptHookArgs) -> None:
    """A thread of somebody's that nobody waits for: where it failed, without its words."""
    if ended.exc_value is not None:
        name = ended.thread.name if ended.thread else "?"
        logger.error("the thread %s has failed:\n%s", name, trace(ended.exc_value))


def listen(settings: Settings) -> socket.socket:
    """A listening socket: who comes while the model loads waits or is told so, but never refused.

    Listening at once is also what makes a second server on the same port fail here and not later.
    """
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        refuse_open_address(str(address[0]), settings)
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise CannotStart(f"cannot listen on {host}, port {port}: {_reason(error)}") from error


def _reason(error: OSError | UnicodeError) -> str:
    """The system's words, without what Python adds to them."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return "no such address"
    return os.strerror(error.errno or 0).lower()


class Server(uvicorn.Server):
    """uvicorn, told about the end early: it asks its application only after all streams ended.

    The first signal drains: nothing new begins, what runs may go on for `drain` seconds, then every
    record is written and every reader told. The second one ends the process at once; what was open
    is recovered from the journal at the next start.
    """

    def __init__(self, app: object, service: Service) -> None:
        super().__init__(_config(app, service.settings))
        self._service = service
        self._begin = time.monotonic()
        service.crowded = self._is_crowded
        self._loading: asyncio.Task[None] | None = None
        self.told_to_stop = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not handed on to uvicorn: it would raise the signal again at the end, and exit with it.
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = self.told_to_stop = True
        self._service.drain()
        # Left to its default action, the alarm ends a process that is stuck wherever it is.
        signal.setitimer(signal.ITIMER_REAL, self._service.settings.drain + _PATIENCE)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or []:
            each.listen(_BACKLOG)  # the kernel's own line is as long as ever
        if self.started:
            self._loading = start_task(self._loaded(), failed=self._failed)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._loading:
            self._loading.cancel()
        await self._service.drained()
        # A client that does not read keeps its response, and uvicorn, waiting for ever.
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._hang_up)
        await super().shutdown(sockets)

    async def _loaded(self) -> None:
        await self._service.ready()
        # What was loaded stays: the collector need not walk over it again and again. Without
        # this it took a seventh of the loop's time (perf, sixteen streams).
        gc.freeze()
        gc.collect()  # finds next to nothing, and so learns how little there is to walk over
        print(f"ready    after {time.monotonic() - self._begin:.1f} s", flush=True)

    def _is_crowded(self) -> bool:
        """Whether nobody else can connect: every connection that can be is being answered on."""
        connections = self.server_state.connections
        idle = [each for each in connections if isinstance(each, DeadlineProtocol) and each.is_idle]
        return 0 < (self.config.limit_concurrency or 0) <= len(connections) - len(idle)

    def _failed(self, error: Exception) -> None:
        """Without a model there is nothing to serve; the application has said why."""
        self.should_exit = True

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=DeadlineProtocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=LOG_CONFIG,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
        backlog=_ACCEPTED_AT_ONCE,
        limit_concurrency=connection_limit(settings),
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )


def refuse_open_address(address: str, settings: Settings) -> None:
    """Raises CannotStart for one that other machines reach and no good key guards."""
    if settings.insecure or ipaddress.ip_address(address).is_loopback:
        return
    reached = f"{address} can be reached from other machines"
    if not settings.api_key:
        raise CannotStart(f"{reached}: give an --api-key, or say --insecure if that is meant")
    for option, keys in (("--api-key", settings.api_key), ("--log-key", settings.log_key)):
        if any(is_weak(key.get_secret_value()) for key in keys):
            raise CannotStart(
                f"{reached}, and a key of {option} can be guessed: one has at least {SHORTEST} "
                "characters, and not only usual words and rows (openssl rand -hex 16 makes one)"
            )


def _announce(listener: socket.socket, service: Service, settings: Settings) -> None:
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    print(f"MiniVault {__version__}")
    print(f"open     http://{address}:{port}/")
    print(f"model    {service.stage.notice or service.stage.wanted}")
    print(f"models   {settings.models_dir.absolute()}")
    print(f"logs     {settings.logs_dir.absolute()}")
    print("stop     Ctrl-C", flush=True)
