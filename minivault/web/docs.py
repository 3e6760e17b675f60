"""The API's documentation: `/docs`, `/openapi.json`; and `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from minivault import metrics
from minivault.service import Service
from minivault.web.icons import ICONS
from minivault.web.openapi import description
from minivault.web.policies import DOCS_POLICY


def docs_routes(templates: Jinja2Templates, cookies: Mapping[str, str]) -> list[Route]:
    """`GET /docs` (Swagger UI from local files), `GET /openapi.json` and `GET /metrics`."""
    described = description(cookies)

    async def page(request: Request) -> Response:
        context = {"here": "docs", "icons": ICONS}
        headers = {"Content-Security-Policy": DOCS_POLICY}
        return templates.TemplateResponse(request, "docs.html", context, headers=headers)

    async def openapi(request: Request) -> Response:
        servers = [{"url": request.scope.get("root_path") or "/"}]
        return JSONResponse({**described, "servers": servers})

    return [
        Route("/docs", page, methods=["GET"], name="docs"),
        Route("/openapi.json", openapi, methods=["GET"], name="openapi"),
        Route("/metrics", show_metrics, methods=["GET"], name="metrics"),
    ]


async def show_metrics(request: Request) -> Response:
    """GET /metrics: what Prometheus scrapes."""
    service: Service = request.app.state.service
    return Response(service.metrics.render(), headers={"Content-Type": metrics.MEDIA_TYPE})
