"""How a browser exchanges a key for a cookie: the login form, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from urllib.parse import parse_qs

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from minivault.background import in_thread
from minivault.parsing import MOST_FIELDS
from minivault.web.keys import Keyring
from minivault.web.operations import HTML, Operation
from minivault.web.policies import LOGIN_POLICY

# Where the form may lead; anything else would let a link send people to a foreign page.
DESTINATIONS = ("/", "/docs", "/logs")


class LoginForm(BaseModel):
    """What the login form posts."""

    key: str
    next: str = Field(default="/", description="Where to go then: /, /docs or /logs.")


class Login:
    """The form, what comes of it, and the end of a login.

    `refused` is called with "login" for every key that was wrong or came too soon.
    """

    def __init__(
        self, keyring: Keyring, templates: Jinja2Templates, refused: Callable[[str], None]
    ) -> None:
        self._keyring = keyring
        self._templates = templates
        self._refused = refused
        self._attempts = keyring.attempts

    async def show(self, request: Request) -> Response:
        """GET /login"""
        return self._form(request, _destination(request.query_params.get("next", "/")))

    async def exchange(self, request: Request) -> Response:
        """POST /login: takes a key and sets the cookie."""
        fields = _fields((await request.body()).decode("utf-8", "replace"))
        destination = _destination(fields.get("next", ["/"])[0])
        address = request.client.host if request.client else ""
        if wait := self._attempts.wait(address):
            self._refused("login")
            return self._form(request, destination, 429, wait)
        cookies = self._keyring.cookies(fields.get("key", [""])[0])
        if not cookies:
            self._refused("login")
            self._attempts.failed(address)
            return self._form(request, destination, 401)
        self._attempts.succeeded(address)
        response = RedirectResponse(destination, status_code=303)
        secure = request.url.scheme == "https"
        for name, value in cookies.items():
            response.set_cookie(name, value, httponly=True, samesite="strict", secure=secure)
        return response

    async def leave(self, request: Request) -> Response:
        """POST /logout"""
        prefix = request.scope.get("root_path", "")
        response = RedirectResponse(f"{prefix}/login", status_code=303)
        for name in await in_thread(self._keyring.log_out, request.headers):
            response.delete_cookie(name, httponly=True, samesite="strict")
        return response

    def _form(
        self, request: Request, destination: str, status: int = 200, wait: float = 0
    ) -> Response:
        headers = {
            "Content-Security-Policy": LOGIN_POLICY,
            # Without its origin the form's own POST would look like another site's.
            "Referrer-Policy": "same-origin",
        }
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="MiniVault"'
        if wait:
            headers["Retry-After"] = str(ceil(wait))
        context = {
            "destination": destination,
            "wrong": status == 401,
            "wait": ceil(wait),
            "inside": self._keyring.is_inside(request.headers),
        }
        return self._templates.TemplateResponse(request, "login.html", context, status, headers)


def login_routes(
    keyring: Keyring,
    templates: Jinja2Templates,
    *,
    refused: Callable[[str], None] = lambda reason: None,
) -> list[Operation]:
    """`GET /login`, `POST /login` and `POST /logout`."""
    login = Login(keyring, templates, refused)
    page = {HTML: None}
    return [
        Operation("GET", "/login", login.show, "loginForm", "pages", "The login form", {200: page}),
        Operation(
            "POST",
            "/login",
            login.exchange,
            "login",
            "pages",
            "Exchange a key for a cookie",
            {303: {}, 401: page, 429: page},
            body=LoginForm,
            body_type="application/x-www-form-urlencoded",
            example={"key": "your key", "next": "/"},
        ),
        Operation(
            "POST",
            "/logout",
            login.leave,
            "logout",
            "pages",
            "End the login whose cookie comes along",
            {303: {}},
        ),
    ]


def _destination(asked: str) -> str:
    return asked if asked in DESTINATIONS else "/"


def _fields(body: str) -> dict[str, list[str]]:
    try:
        return parse_qs(body, max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}  # so many fields hold no key
