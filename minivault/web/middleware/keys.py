"""Who needs which key: nobody on loopback unless one is set, nearly everybody off loopback."""

from __future__ import annotations

from enum import Enum, auto
from ipaddress import ip_address
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import Scope

from minivault.errors import TooManyWrongKeys, Unauthorized
from minivault.web.keys import Door, Keyring
from minivault.web.login import DESTINATIONS
from minivault.web.middleware.guards import LedElsewhere
from minivault.web.middleware.paths import below, route_path

NEEDS_KEY = "this needs a key: send it as Authorization: Bearer KEY, or log in at /login"
NO_API_KEY = (
    "this server is reached from other machines and has no key: start it with --api-key KEY"
)
NO_LOG_KEY = (
    "the log is not shown to other machines without a key: start the server with --log-key KEY"
)
ALWAYS_OPEN = ("/login", "/logout", "/favicon.ico", "/manifest.webmanifest")
# A link from another site brings no SameSite=Strict cookie; the page's own reload does.
RELOAD = '<!doctype html><meta http-equiv="refresh" content="0"><title>MiniVault</title>'


class Need(Enum):
    """What a route asks of a request."""

    NOTHING = auto()  # the login form and static files
    STATUS = auto()  # /health: open, but without a key only the status
    API = auto()
    INSIGHT = auto()  # /metrics, /models, /docs: off loopback a key even with --insecure
    LOGS = auto()


class KeyCheck:
    """Lets requests in by Bearer token or cookie, and leads a person without to the login form.

    Sets `request.state.keyed`, whether details may be told, which `/health` asks, and
    `request.state.caller`, a name for the key that came, or "".
    `exposed` says that the server was bound off loopback; a connection that comes in on another
    address than loopback counts as exposed anyway. `insecure` allows that without an API key.
    """

    def __init__(self, keyring: Keyring, *, exposed: bool = False, insecure: bool = False) -> None:
        self.keyring = keyring
        self.exposed = exposed
        self.insecure = insecure

    def check(self, scope: Scope) -> None:
        """Raises Unauthorized, TooManyWrongKeys, or LedElsewhere for a person."""
        need = needed(route_path(scope))
        headers = Headers(scope=scope)
        # A Unix socket has no port; it is this machine's as the loopback address is.
        address, port = scope.get("server") or ("", None)
        exposed = self.exposed or not (port is None or is_loopback(address))
        # The log has a door of its own as soon as there is a key to it, or others can reach it.
        own_door = exposed or Door.LOGS in self.keyring.guarded
        door = Door.LOGS if need is Need.LOGS and own_door else Door.API
        guarded = door in self.keyring.guarded
        caller = None
        if guarded and need is not Need.NOTHING:
            try:
                caller = self.keyring.caller(door, headers, (scope.get("client") or ("",))[0])
            except TooManyWrongKeys:
                # Whoever asks whether the server is well is told that much.
                if need is not Need.STATUS:
                    raise
        missing = None  # what the request lacks, as a sentence
        if not caller and need is not Need.NOTHING:
            if guarded:
                missing = NEEDS_KEY
            elif exposed and not (self.insecure and need is Need.API):
                missing = NO_LOG_KEY if door is Door.LOGS else NO_API_KEY
        scope.setdefault("state", {}).update(keyed=missing is None, caller=caller or "")
        if missing is not None and need is not Need.STATUS:
            _lead_to_login(scope, headers, missing)
            raise Unauthorized(missing)


def _lead_to_login(scope: Scope, headers: Headers, missing: str) -> None:
    """Raises LedElsewhere where a person reads a page and a key would help."""
    path = route_path(scope)
    reads_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
    if missing != NEEDS_KEY or path not in DESTINATIONS or not reads_page:
        return
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise LedElsewhere(HTMLResponse(RELOAD))
    target = f"{scope.get('root_path', '')}/login?{urlencode({'next': path})}"
    raise LedElsewhere(RedirectResponse(target, status_code=303))


def needed(path: str) -> Need:
    """What a path asks for; what is not named here asks for an API key."""
    if path in ALWAYS_OPEN or below(path, "/static"):
        return Need.NOTHING
    if path == "/health":
        return Need.STATUS
    if below(path, "/logs"):
        return Need.LOGS
    if path in ("/metrics", "/models", "/docs"):
        return Need.INSIGHT
    return Need.API


def needs_key(path: str) -> bool:
    """Whether this path can be refused for want of a key."""
    return needed(path) not in (Need.NOTHING, Need.STATUS)


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reached from this machine only."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, on a socket for both
    return (mapped or address).is_loopback
