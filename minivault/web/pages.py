"""The pages: the chat page at `/`, the one that checks proofs, and what browsers fetch beside."""

from __future__ import annotations

import re
from functools import cache

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from minivault.resources import resource
from minivault.schemas import Parameters
from minivault.web import icons
from minivault.web.operations import HTML, Operation

CHECK = "/static/check.html"  # one file, to be saved and opened anywhere: its script is in it

FILES = {
    CHECK: ("check.html", "text/html"),
    "/favicon.ico": ("icons/favicon.ico", "image/x-icon"),
    "/manifest.webmanifest": ("manifest.webmanifest", "application/manifest+json"),
}


def page_routes(templates: Jinja2Templates) -> list[Route]:
    """`GET /`, the favicon, the web app manifest, and the page that checks proofs."""
    schema = Parameters.model_json_schema()["properties"]
    # The page has its own words for a parameter's name.
    parameters = [
        (name, {key: value for key, value in each.items() if key != "title"})
        for name, each in schema.items()
    ]

    async def chat(request: Request) -> Response:
        context = {"here": "chat", "parameters": parameters}
        return templates.TemplateResponse(request, "chat.html", context | {"icons": icons.CHAT})

    files = [Route(path, _file, methods=["GET"]) for path in FILES]
    page = Operation("GET", "/", chat, "chat", "pages", "The chat page", {200: {HTML: None}})
    return [page, *files]


async def _file(request: Request) -> Response:
    name, kind = FILES[request.url.path]
    headers = {"Cache-Control": "no-cache"}
    if request.url.path == CHECK:
        headers["Content-Security-Policy"] = f"{own_policy()}; frame-ancestors 'none'"
    return FileResponse(resource("static") / name, media_type=kind, headers=headers)


@cache
def own_policy() -> str:
    """What the page that checks proofs allows itself: its one script, its one style, no network."""
    page = (resource("static") / "check.html").read_text("utf-8")
    found = re.search(r'"Content-Security-Policy" content="([^"]*)"', page)
    assert found
    return found[1]
