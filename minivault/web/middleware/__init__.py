"""The checks that every request passes, as pure ASGI classes; `protection` puts them in order."""

from __future__ import annotations

from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from minivault.settings import Settings
from minivault.web.keys import Keyring
from minivault.web.middleware.body import BodyRules
from minivault.web.middleware.cross_site import CrossSiteGuard
from minivault.web.middleware.failures import Failures
from minivault.web.middleware.headers import SecurityHeaders
from minivault.web.middleware.host import AllowedHosts
from minivault.web.middleware.keys import KeyCheck, is_loopback
from minivault.web.middleware.query import QueryRules
from minivault.web.middleware.request_id import RequestId


def protection(
    settings: Settings,
    keyring: Keyring,
    *,
    refused: Callable[[str], None] = lambda reason: None,
) -> list[Middleware]:
    """The middleware from the outermost to the innermost; the audit goes behind it.

    `refused` is called with the reason of every refusal: host, cross_site, query, body or key.
    """
    origins = [origin.rstrip("/") for origin in settings.trusted_origin]
    return [
        Middleware(SecurityHeaders),
        Middleware(
            AllowedHosts, allowed=settings.allowed_host, bound=settings.host, refused=refused
        ),
        Middleware(CrossSiteGuard, trusted=origins, refused=refused),
        Middleware(RequestId),
        Middleware(Failures),
        *_cross_origin(origins),
        Middleware(QueryRules, refused=refused),
        Middleware(BodyRules, refused=refused),
        Middleware(
            KeyCheck,
            keyring=keyring,
            exposed=not is_loopback(settings.host),
            insecure=settings.insecure,
            refused=refused,
        ),
    ]


def _cross_origin(origins: list[str]) -> list[Middleware]:
    """CORS for the origins that were named, exactly; without any there is none at all."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-Id"],
            expose_headers=[
                "MiniVault-Id",
                "MiniVault-Model",
                "MiniVault-Seed",
                "Retry-After",
                "X-Request-Id",
            ],
            allow_private_network=True,
        )
    ]
