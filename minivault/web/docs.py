"""The API's documentation: `/docs`, `/openapi.json`; and `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.templating import Jinja2Templates

from minivault import metrics
from minivault.web.carried import service_of
from minivault.web.icons import ICONS
from minivault.web.openapi import description
from minivault.web.operations import HTML, JSON, TEXT, Operation
from minivault.web.policies import DOCS_POLICY


def docs_routes(
    templates: Jinja2Templates, cookies: Mapping[str, str], others: Sequence[BaseRoute] = ()
) -> list[Operation]:
    """`GET /docs` (Swagger UI from local files), `GET /openapi.json` and `GET /metrics`.

    They describe the `others` and themselves.
    """

    async def page(request: Request) -> Response:
        context = {"here": "docs", "icons": ICONS}
        headers = {"Content-Security-Policy": DOCS_POLICY}
        return templates.TemplateResponse(request, "docs.html", context, headers=headers)

    async def openapi(request: Request) -> Response:
        servers = [{"url": request.scope.get("root_path") or "/"}]
        return JSONResponse({**described, "servers": servers})

    page_answer, text, document = {200: {HTML: None}}, {200: {TEXT: None}}, {200: {JSON: None}}
    routes = [
        Operation("GET", "/metrics", show_metrics, "metrics", "server", "Prometheus text", text),
        Operation(
            "GET", "/openapi.json", openapi, "openapi", "server", "This description", document
        ),
        Operation("GET", "/docs", page, "docs", "pages", "This page", page_answer),
    ]
    described = description([*others, *routes], cookies)
    return routes


async def show_metrics(request: Request) -> Response:
    """GET /metrics: what Prometheus scrapes."""
    service = service_of(request)
    return Response(service.metrics.render(), headers={"Content-Type": metrics.MEDIA_TYPE})
