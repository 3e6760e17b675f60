"""GET /v1/models: the model that serves, and its other names."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minivault.backends.base import ModelInfo
from minivault.web.carried import service_of
from minivault.web.openai import bodies
from minivault.web.openai.asked import check_model
from minivault.web.openai.misplaced import Signpost
from minivault.web.operations import JSON, Operation, Parameter


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    service = service_of(request)
    info = service.info
    names = [info.name, *(each for each in service.settings.model_alias if each != "*")]
    return JSONResponse({"object": "list", "data": [_model(info, name) for name in names]})


async def show_model(request: Request) -> Response:
    """GET /v1/models/{id}; an id may have slashes."""
    service = service_of(request)
    name = request.path_params["id"]
    check_model(name, service.info, service.settings.model_alias)
    return JSONResponse(_model(service.info, name))


def _model(info: ModelInfo, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": info.created,
        "owned_by": "minivault",
        "max_model_len": info.context_length,
        "meta": {"n_ctx": info.context_length},
    }


routes = [
    Operation(
        "GET",
        "/v1/models",
        list_models,
        "listModels",
        "openai",
        "The model that serves, as OpenAI lists models",
        {200: {JSON: bodies.ServedModels}},
        (503,),
    ),
    Operation(
        "GET",
        "/v1/models/{id}",
        show_model,
        "showModel",
        "openai",
        "One model",
        {200: {JSON: bodies.ServedModel}},
        (404, 503),
        parameters=(
            Parameter(
                "id", "path", "Its name.", {"type": "string", "pattern": "^[A-Za-z0-9._/-]{1,200}$"}
            ),
        ),
    ),
]

with_slashes = Signpost("/v1/models/{id:path}", show_model, methods=["GET"])  # the same
