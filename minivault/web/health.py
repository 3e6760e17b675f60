"""GET /health and GET /models: can work be taken, and by which model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minivault import __version__
from minivault.model_store import ModelStore
from minivault.service import Service
from minivault.web.connection import while_connected
from minivault.web.reading import ReadingRoom, Turn


async def health(request: Request) -> Response:
    """200 when work is taken; 503 and the reason while loading, draining, or without a log."""
    service: Service = request.app.state.service
    problem = service.problem()
    data: dict[str, Any] = {"status": _status(service) if problem else "ready"}
    if problem:
        data["detail"] = problem
    if request.scope["state"].get("keyed", True):
        data |= _details(service)
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "2"} if problem else {})
    return JSONResponse(data, 503 if problem else 200, headers)


async def models(request: Request) -> Response:
    """The models on disk, and the one that serves."""
    service: Service = request.app.state.service
    room: ReadingRoom = request.app.state.reading_room
    look = partial(_on_disk, service.settings.models_dir)
    found = await while_connected(request.receive, room.read(look, key="models"))
    return JSONResponse({"serving": model_data(service), "models": found})


def _on_disk(folder: Path, turn: Turn) -> list[dict[str, Any]]:
    """Blocks: a model that nobody downloaded has to be hashed, once for each change."""
    store = ModelStore(folder, offline=True, interrupt=turn)
    return [
        {
            "name": model.name,
            "sha256": model.sha256,
            "revision": model.revision,
            "size": model.size,
            "source": model.source,
            "license": model.license,
        }
        for model in store.models()
    ]


def model_data(service: Service) -> dict[str, Any] | None:
    """The model that serves; None while it is being loaded."""
    backend = service.registry.backend
    if backend is None:
        return None
    info = backend.info
    return {
        "name": info.name,
        "context_length": info.context_length,
        "chat": info.chat,
        "reproducible": info.reproducible,
        "sha256": info.sha256,
        "tokenizer_sha256": info.tokenizer_sha256,
        "engine": dict(info.engine),
    }


def _notice(service: Service) -> str | None:
    """What people should know of the model that serves, in sentences."""
    backend = service.registry.backend
    told = (service.stage.notice, backend and backend.info.notice)
    return "; ".join(each for each in told if each) or None


def _status(service: Service) -> str:
    if service.registry.draining:
        return "draining"
    return "unavailable" if service.stage.status == "ready" else service.stage.status


def _details(service: Service) -> dict[str, Any]:
    stage, counts = service.stage, service.registry.statistics()
    model = model_data(service)
    return {
        "version": __version__,
        "model": model,
        "wanted": stage.wanted,
        "notice": _notice(service),
        "progress": stage.progress,
        "warnings": list(stage.warnings),
        "context_length": model and model["context_length"],
        "chat": bool(model and model["chat"]),
        "running": counts["running"],
        "waiting": counts["waiting"],
        "log": {"writable": service.vault.problem is None, "problem": service.vault.problem},
    }


routes = [Route("/health", health, methods=["GET"]), Route("/models", models, methods=["GET"])]
