"""A real server in a thread, on a port of its own, for tests that need sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from minivault.app import create_app
from minivault.backends.base import Backend
from minivault.backends.echo import EchoBackend
from minivault.service import Service
from minivault.settings import Settings
from tests.health_watch import HEALTH

DEADLINE = 60.0  # generous: a machine may do much else
_LAST_WORDS = 5.0  # seconds for answers under way when a server is told to end


class NimbleServer(uvicorn.Server):
    """uvicorn without its naps of a tenth of a second: hundreds of servers start and stop here."""

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick = (tick + 1) % 1000
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wait_tasks_to_complete(), _LAST_WORDS)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()

    async def _wait_tasks_to_complete(self) -> None:
        while self.server_state.connections or self.server_state.tasks:
            if self.force_exit:
                return
            await asyncio.sleep(0.005)
        for each in self.servers:
            await each.wait_closed()


class LiveServer:
    """A running server; `url` is where, `service` what is behind it."""

    def __init__(self, service: Service, server: uvicorn.Server, port: int) -> None:
        self.service = service
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.server = server

    @property
    def log(self) -> Path:
        return self.service.settings.logs_dir / "log.jsonl"

    def records(self) -> list[dict[str, Any]]:
        """Those whose lines are there as a whole: the last may be on its way to the file."""
        lines = self.log.read_text(encoding="ascii").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        HEALTH.ends(self.port)
        self.server.should_exit = True


@contextmanager
def live_server(
    folder: Path,
    backend: Backend | None = None,
    *,
    port: int = 0,
    ready: bool = True,
    **options: Any,
) -> Iterator[LiveServer]:
    """Serves the echo backend, or another one; logs and models lie below `folder`.

    `ready`: whether to wait until the model is there, or cannot be.
    At the end the server is shut down and waited for: every record is written then.
    """
    values: dict[str, Any] = {"logs_dir": folder / "logs", "models_dir": folder / "models"}
    settings = Settings(**(values | {"drain": 0.0} | options))
    service = Service.opened(settings, backend or EchoBackend())
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the real server has it
    config = uvicorn.Config(create_app(settings, service), log_level="warning", lifespan="on")
    server = NimbleServer(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    live = LiveServer(service, server, listener.getsockname()[1])
    try:
        wait_for(lambda: server.started and not (ready and service.stage.status == "loading"))
        HEALTH.began(live.port)
        yield live
    finally:
        live.stop()
        thread.join(DEADLINE)
        listener.close()
        assert not thread.is_alive(), "the server did not shut down"


def wait_for(condition: Any, *, seconds: float = DEADLINE) -> None:
    """Returns as soon as the condition holds; fails if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
