"""Refuses requests that another site's page caused, GET included: a request here costs work.

Browsers say in Sec-Fetch-Site who caused a request, and older ones in Origin; programs say neither.
The table is that of the Fetch Metadata "resource isolation policy" (https://web.dev/fetch-metadata),
only stricter: `same-site` is not enough, since every port of localhost is the same site.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import Scope

from minivault.errors import Forbidden
from minivault.web.middleware.paths import below, route_path

OTHER_SITE = (
    "another site's page asked for this; if it may, start the server with --trusted-origin ORIGIN"
)
TYPED_IN = (
    "an address that starts a generation does nothing when it is typed in or opened as a link; "
    "open the page at / and write the prompt there, or use curl"
)
AHEAD = "nothing is done ahead of time: open the address itself"

# Nothing happens at these, and other sites cannot read the answers: a plain link may lead here.
HARMLESS = frozenset(
    {
        "/",
        "/docs",
        "/health",
        "/metrics",
        "/models",
        "/openapi.json",
        "/favicon.ico",
        "/manifest.webmanifest",
    }
)


class CrossSiteGuard:
    """Lets through what the server's own pages, programs and trusted origins ask for.

    Whatever is not known to be harmless is guarded, so that a new route is guarded by default.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self.trusted = frozenset(origin.lower().rstrip("/") for origin in trusted if origin.strip())

    def check(self, scope: Scope) -> None:
        """Raises Forbidden."""
        path = route_path(scope)
        if is_harmless(path, scope["method"]):
            return
        headers = Headers(scope=scope)
        # Prefetch and prerender: Sec-Purpose, and the older names of it.
        purpose = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz"))
        if "prefetch" in purpose or "prerender" in purpose:
            raise Forbidden(AHEAD)
        origin = ", ".join(headers.getlist("origin")).lower()
        if site := ", ".join(headers.getlist("sec-fetch-site")):
            is_own = site in ("same-origin", "none")
        else:
            is_own = not origin or origin.partition("://")[2] == headers.get("host", "").lower()
        if not is_own and origin not in self.trusted:
            raise Forbidden(OTHER_SITE)
        typed_in = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        if below(path, "/generate") and typed_in == ("none", "navigate"):
            raise Forbidden(TYPED_IN)


def is_harmless(path: str, method: str) -> bool:
    """Whether a plain link of another site may lead here."""
    reads = method in ("GET", "HEAD")
    return path in HARMLESS or below(path, "/static") or (path == "/login" and reads)
