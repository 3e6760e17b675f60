"""What every request passes on its way to a route; `protection` puts it in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from minivault.settings import Settings
from minivault.web.keys import Keyring
from minivault.web.middleware.body import BodyLimit, check_body
from minivault.web.middleware.cross_site import CrossSiteGuard
from minivault.web.middleware.guards import Check, Guards
from minivault.web.middleware.headers import AnswerHeaders
from minivault.web.middleware.host import AllowedHosts
from minivault.web.middleware.keys import KeyCheck, is_loopback
from minivault.web.middleware.query import check_query
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
    exposed = not is_loopback(settings.host)
    who_asks = {
        "host": AllowedHosts(allowed=settings.allowed_host, bound=settings.host).check,
        "cross_site": CrossSiteGuard(origins).check,
    }
    what_is_asked: Mapping[str, Check] = {
        "query": check_query,
        "body": partial(check_body, openai=settings.max_body),
        "key": KeyCheck(keyring, exposed=exposed, insecure=settings.insecure).check,
    }
    return [
        Middleware(AnswerHeaders),
        Middleware(Guards, checks=who_asks, refused=refused),
        Middleware(RequestId),
        *_cross_origin(origins),
        Middleware(Guards, checks=what_is_asked, refused=refused),
        Middleware(BodyLimit, refused=refused, openai=settings.max_body),
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
            allow_headers=["*"],  # those that are asked for: clients add ever more of their own
            expose_headers=[
                "MiniVault-Id",
                "MiniVault-Ignored",
                "MiniVault-Model",
                "MiniVault-Seed",
                "OpenAI-Processing-Ms",
                "OpenAI-Version",
                "Retry-After",
                "X-Request-Id",
            ],
            allow_private_network=True,
        )
    ]
