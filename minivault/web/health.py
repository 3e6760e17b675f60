"""GET /health and GET /models: can work be taken, and by which model."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from minivault import __version__
from minivault.model_store import ModelStore
from minivault.service import Service
from minivault.web import answers
from minivault.web.carried import service_of
from minivault.web.connection import while_connected
from minivault.web.log_health import log_health
from minivault.web.operations import JSON, Operation
from minivault.web.reading import ReadingRoom, Turn


async def health(request: Request) -> Response:
    """200 when work is taken; 503 and the reason while loading, draining, or without a log."""
    service = service_of(request)
    problem = service.problem()
    answer = answers.Health(status=_status(service) if problem else "ready")
    if problem:
        answer.detail = problem
    if request.scope["state"].get("keyed", True):
        stage, counts = service.stage, service.registry.statistics()
        answer.version = __version__
        answer.model = model = _serving(service)
        answer.wanted = stage.wanted
        answer.notice = _notice(service)
        answer.progress = stage.progress
        answer.warnings = service.warnings
        answer.context_length = model.context_length if model else None
        answer.chat = bool(model and model.chat)
        answer.running = int(counts["running"])
        answer.waiting = int(counts["waiting"])
        answer.log = log_health(service)
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "2"} if problem else {})
    return answers.as_json(answer, 503 if problem else 200, headers)


async def models(request: Request) -> Response:
    """The models on disk, and the one that serves."""
    service = service_of(request)
    room: ReadingRoom = request.app.state.reading_room

    def look(turn: Turn) -> list[answers.ModelOnDisk]:
        # Blocks: a model that nobody downloaded has to be hashed, once for each change.
        store = ModelStore(service.settings.models_dir, offline=True, interrupt=turn)
        return [answers.ModelOnDisk.model_validate(model) for model in store.models()]

    found = await while_connected(request.receive, room.read(look, key="models"))
    return answers.as_json(answers.Models(serving=_serving(service), models=found))


def _serving(service: Service) -> answers.Model | None:
    """The model that serves; None while it is being loaded."""
    backend = service.registry.backend
    return answers.Model.model_validate(backend.info) if backend else None


def _notice(service: Service) -> str | None:
    """What people should know of the model that serves, in sentences."""
    backend = service.registry.backend
    told = (service.stage.notice, backend and backend.info.notice)
    return "; ".join(each for each in told if each) or None


def _status(service: Service) -> answers.Status:
    if service.registry.draining:
        return "draining"
    return "unavailable" if service.stage.status == "ready" else service.stage.status


_HEALTH = {JSON: answers.Health}

routes = [
    Operation(
        "GET",
        "/health",
        health,
        "health",
        "server",
        "Whether work is taken",
        {200: _HEALTH, 503: _HEALTH},
    ),
    Operation(
        "GET",
        "/models",
        models,
        "models",
        "server",
        "The models on disk, and the one that serves",
        {200: {JSON: answers.Models}},
    ),
]
