"""Every answer carries the security headers, refusals too."""

from __future__ import annotations

import pytest

from minivault.web.middleware.headers import HEADERS
from minivault.web.policies import DOCS_POLICY, LOGIN_POLICY, PAGE_POLICY
from tests.web.guarded import Guarded


@pytest.mark.parametrize(
    "path, sent, status",
    [
        ("/", {}, 200),
        ("/nowhere", {}, 404),
        ("/", {"Host": "evil.example"}, 400),
        ("/generate?prompt=x", {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_every_answer_has_them(path: str, sent: dict[str, str], status: int) -> None:
    response = Guarded().client().get(path, headers=sent)
    assert response.status_code == status
    for name, value in HEADERS.items():
        assert response.headers.get_list(name) == [value]
    assert response.headers["cache-control"] == "no-store"


def test_static_files_are_kept_but_asked_for_again() -> None:
    assert Guarded().client().get("/static/a.css").headers["cache-control"] == "no-cache"


def test_a_page_with_its_own_policy_keeps_it() -> None:
    response = Guarded().client().get("/login")
    assert response.headers.get_list("content-security-policy") == [LOGIN_POLICY]
    assert response.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("policy", [PAGE_POLICY, LOGIN_POLICY, DOCS_POLICY])
def test_no_policy_allows_scripts_in_the_page_or_from_elsewhere(policy: str) -> None:
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_the_pages_demand_trusted_types() -> None:
    assert "require-trusted-types-for 'script'" in PAGE_POLICY
    assert "require-trusted-types-for 'script'" in LOGIN_POLICY
    assert "unsafe" not in PAGE_POLICY


@pytest.mark.parametrize("host, status", [("localhost", 200), ("evil.example", 400)])
def test_an_ambiguous_end_of_a_request_ends_the_connection(host: str, status: int) -> None:
    """What comes behind it is never read as another request, whatever the answer is."""
    both = {"Host": host, "Content-Length": "2", "Transfer-Encoding": "chunked"}
    response = Guarded().client().get("/models", headers=both)
    assert (response.status_code, response.headers.get("connection")) == (status, "close")
    response = Guarded().client().get("/models", headers={"Host": host})
    assert "connection" not in response.headers
