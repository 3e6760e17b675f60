"""The documentation page and its vendored files; that it works offline is proved in a browser."""

from __future__ import annotations

from hashlib import sha256

from starlette.applications import Starlette
from starlette.templating import Jinja2Templates
from starlette.testclient import TestClient

from minivault.resources import resource
from minivault.web.docs import docs_routes
from minivault.web.policies import DOCS_POLICY
from tests.web.guarded import COOKIES

VENDORED = resource("static") / "vendor" / "swagger-ui"


def client(root_path: str = "") -> TestClient:
    app = Starlette(routes=docs_routes(Jinja2Templates(resource("templates")), COOKIES))
    return TestClient(app, root_path=root_path)


def test_the_vendored_files_are_those_of_the_manifest() -> None:
    lines = (VENDORED / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in VENDORED.iterdir()
        if path.name not in ("README.md", "SHA256SUMS")
    }
    assert found == listed
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui.css"} <= set(found)


def test_the_page_names_only_files_of_our_own_and_has_its_own_policy() -> None:
    response = client().get("/docs")
    assert response.headers["content-security-policy"] == DOCS_POLICY
    assert "static/vendor/swagger-ui/swagger-ui-bundle.js" in response.text
    assert "//" not in response.text.replace("http://www.w3.org", "")
    assert "<script>" not in response.text
    assert "<style" not in response.text


def test_the_description_tells_where_it_is_served_from() -> None:
    assert client().get("/openapi.json").json()["servers"] == [{"url": "/"}]
    below = client(root_path="/vault").get("/vault/openapi.json")
    assert below.json()["servers"] == [{"url": "/vault"}]
