"""Addresses that clients look for and that are elsewhere, or not here: each says so."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minivault.web.middleware.paths import route_path
from minivault.web.openai.envelope import wrapped

_WITHOUT_PREFIX = ("/chat/completions", "/completions", "/responses", "/v1/v1/{rest:path}", "/v1")
_OLLAMA = ("chat", "generate", "tags", "show", "version")
_NOT_HERE = {
    "embeddings": "this server makes texts, no embeddings",
    "moderations": "this server makes texts and moderates none",
    "images": "this server makes texts, no images",
    "audio": "this server makes texts, no speech, and hears none",
    "files": "this server keeps no files",
    "decisions": "this server makes texts; echo with logprobs scores what is to be decided between",
    "batches": "this server takes no batches; send the requests themselves",
    "messages": "Anthropic's interface is not served; use /v1/chat/completions",
}


class Signpost(Route):
    """An address that no description names: it tells of another one, or is its other form."""


async def _elsewhere(request: Request) -> Response:
    base = f"{request.url.scheme}://{request.url.netloc}/v1"
    message = f"the base URL of this server for OpenAI's clients ends in /v1: set it to {base}"
    if route_path(request.scope).startswith("/api/"):
        message = f"Ollama's interface is not served; OpenAI's is, with the base URL {base}"
    return JSONResponse(wrapped(message, code="unsupported"), 404)


async def _not_here(request: Request) -> Response:
    kind = request.url.path.split("/v1/", 1)[1].split("/")[0]
    return JSONResponse(wrapped(_NOT_HERE[kind], code="unsupported"), 404)


_METHODS = ["GET", "POST"]

routes = [
    *(Signpost(path, _elsewhere, methods=_METHODS) for path in _WITHOUT_PREFIX),
    *(Signpost(f"/api/{each}", _elsewhere, methods=_METHODS) for each in _OLLAMA),
    *(Signpost(f"/v1/{kind}", _not_here, methods=_METHODS) for kind in _NOT_HERE),
    *(Signpost(f"/v1/{kind}/{{rest:path}}", _not_here, methods=_METHODS) for kind in _NOT_HERE),
]
