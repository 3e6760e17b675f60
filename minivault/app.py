"""Puts the web application together: routes, middleware, lifespan; uvicorn imports `app`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from minivault.background import describe, start_task
from minivault.errors import CannotStart, ChainBroken, MiniVaultError
from minivault.resources import resource
from minivault.schemas import field_errors
from minivault.service import Service
from minivault.settings import Settings
from minivault.variables import complaints
from minivault.vault.secret import derive
from minivault.web import generate, health, proofs
from minivault.web.assets import asset_routes
from minivault.web.docs import docs_routes
from minivault.web.ended_logins import EndedLogins
from minivault.web.keys import Keyring
from minivault.web.login import login_routes
from minivault.web.logs import log_routes
from minivault.web.middleware import protection
from minivault.web.middleware.audit import AuditMiddleware
from minivault.web.openai import routes as openai
from minivault.web.pages import page_routes
from minivault.web.problems import exception_handlers
from minivault.web.reading import ReadingRoom

logger = logging.getLogger("minivault")


def create_app(
    settings: Settings, service: Service | None = None, *, ready_first: bool = False
) -> Starlette:
    """The whole application. Raises CannotStart where the settings cannot be served.

    `ready_first`: the application has not started before the model serves.
    """
    service = service or Service.opened(settings)
    keyring = Keyring(
        api=settings.api_key,
        logs=settings.log_key,
        secret=derive(service.secret, "minivault cookie"),
        ended=EndedLogins(settings.logs_dir),
    )
    room = ReadingRoom(lambda: service.registry.busy)
    app = Starlette(
        routes=routes(keyring, service.metrics.refused),
        middleware=[
            *protection(settings, keyring, refused=service.metrics.refused),
            Middleware(AuditMiddleware, service=service),
        ],
        exception_handlers=dict(exception_handlers),
        lifespan=_lifespan(service, room, ready_first=ready_first),
    )
    app.state.service = service
    app.state.reading_room = room
    return app


def routes(
    keyring: Keyring, refused: Callable[[str], None] = lambda reason: None
) -> list[BaseRoute]:
    """All addresses there are; those nearest the top are found first."""
    templates = Jinja2Templates(directory=resource("templates"))
    described = [
        *generate.routes,
        *openai.described,
        *health.routes,
        *page_routes(templates),
        *log_routes(templates),
        *proofs.routes,
        *login_routes(keyring, templates, refused=refused),
    ]
    return [
        *described,
        *openai.undescribed,
        *docs_routes(templates, keyring.cookie_names, described),
        *asset_routes(),
        Mount("/static", StaticFiles(directory=resource("static")), name="static"),
    ]


def _lifespan(
    service: Service, room: ReadingRoom, *, ready_first: bool
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.start()
        # Told at once, also under uvicorn, which goes on serving pages and /health.
        waiting = start_task(service.ready(), failed=_say)
        try:
            if ready_first:
                await service.ready()
            with _drain_on_signal(service):
                yield
        finally:
            waiting.cancel()
            room.close()
            await service.close()

    return lifespan


def _say(error: Exception) -> None:
    words = str(error) if isinstance(error, MiniVaultError) else describe(error)
    logger.error("%s", " ".join(words.split()))


@contextlib.contextmanager
def _drain_on_signal(service: Service) -> Iterator[None]:
    """Learns of the end before the streams do: uvicorn tells its application only after them.

    `minivault serve` knows by itself; this is for `uvicorn minivault.app:app`.
    """
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}
    draining: list[asyncio.Task[None]] = []

    def start_draining() -> None:
        draining.append(start_task(service.drained(), failed=_say))

    def drain(number: int, frame: FrameType | None) -> None:
        service.drain()
        loop.call_soon_threadsafe(start_draining)
        before[number](number, frame)

    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(each)):
                before[each] = handler
                signal.signal(each, drain)
    except ValueError:
        pass  # not the main thread: whoever runs us there ends us without signals
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


def refuse_workers(count: str) -> None:
    """Raises CannotStart if more than one process is to serve a port."""
    if count != "1":
        raise CannotStart(
            f"{count} workers cannot share one port: streams live in the memory of one process. "
            "To scale, start several servers on ports of their own with the same --secret-file "
            "and put a proxy before them"
        )


def asked_workers(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """How many processes uvicorn was told to start; each of them sees the first one's arguments."""
    if "--reload" in arguments:
        return "1"  # then uvicorn starts one, whatever else it was told
    asked = environment.get("WEB_CONCURRENCY") or "1"
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name == "--workers":
            asked = value if equals else following
    return asked


def __getattr__(name: str) -> Starlette:
    """`app` is made when it is asked for, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        refuse_workers(asked_workers(sys.argv[1:], os.environ))
        settings = Settings()
        for complaint in complaints():
            print("warning:", complaint, file=sys.stderr)
        application = create_app(settings)
    except ValidationError as error:
        for each in field_errors(error):
            print(f"error: MINIVAULT_{each.field.upper()}: {each.message}", file=sys.stderr)
        raise SystemExit(2) from None
    except (CannotStart, ChainBroken) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(3) from None
    globals()["app"] = application
    return application
