"""What a request carries besides itself: the service behind it, and who asks."""

from __future__ import annotations

from starlette.requests import Request

from minivault.service import Service


def service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def caller_of(request: Request) -> str:
    """A name for the key that it came with; "" without one."""
    return str(request.scope["state"].get("caller", ""))
