"""The table of who may cause a request: both verdicts, for every kind of route."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from minivault.web.middleware.cross_site import CrossSiteGuard
from tests.web.guarded import OWN, Guarded

TRUSTED = "https://friend.example"

# What a request says of its origin, and whether routes with an effect take it.
# Columns: Sec-Fetch-Site, Sec-Fetch-Mode, Origin, extra header, verdict for /generate, for /logs.
Row = tuple[str | None, str | None, str | None, dict[str, str], bool, bool]
TABLE: list[Row] = [
    # programs say nothing
    (None, None, None, {}, True, True),
    # our own pages
    ("same-origin", "cors", None, {}, True, True),
    ("same-origin", "cors", OWN, {}, True, True),
    ("same-origin", "no-cors", None, {}, True, True),
    ("same-origin", "navigate", None, {}, True, True),
    # the person
    ("none", "navigate", None, {}, False, True),
    ("none", "no-cors", None, {}, True, True),
    ("none", None, None, {}, True, True),
    # other sites, and other ports of this machine
    ("cross-site", "cors", "https://evil.example", {}, False, False),
    ("cross-site", "no-cors", None, {}, False, False),
    ("cross-site", "navigate", None, {}, False, False),
    ("cross-site", "navigate", "null", {}, False, False),
    ("cross-site", "cors", OWN, {}, False, False),
    ("same-site", "cors", "http://127.0.0.1:3000", {}, False, False),
    ("same-site", "no-cors", None, {}, False, False),
    ("same-site", "navigate", None, {}, False, False),
    ("something-new", "cors", None, {}, False, False),
    ("same-origin, cross-site", "cors", None, {}, False, False),
    # browsers without Sec-Fetch-Site
    (None, None, OWN, {}, True, True),
    (None, None, OWN.upper(), {}, True, True),
    (None, None, "null", {}, False, False),
    (None, None, "https://evil.example", {}, False, False),
    (None, None, "http://127.0.0.1:3000", {}, False, False),
    (None, None, "http://127.0.0.1", {}, False, False),
    (None, None, "http://127.0.0.1:8000.evil.example", {}, False, False),
    (None, None, "127.0.0.1:8000", {}, False, False),
    # origins that were named
    ("cross-site", "cors", TRUSTED, {}, True, True),
    ("cross-site", "navigate", TRUSTED, {}, True, True),
    (None, None, TRUSTED, {}, True, True),
    ("cross-site", "cors", TRUSTED + ":444", {}, False, False),
    ("cross-site", "cors", "http://friend.example", {}, False, False),
    ("cross-site", "cors", TRUSTED + ".evil.example", {}, False, False),
    # ahead of time
    ("none", "navigate", None, {"Sec-Purpose": "prefetch;prerender"}, False, False),
    ("none", "no-cors", None, {"Sec-Purpose": "prefetch"}, False, False),
    ("same-origin", "no-cors", None, {"Sec-Purpose": "prefetch"}, False, False),
    ("same-origin", "no-cors", None, {"Purpose": "prefetch"}, False, False),
    (None, None, None, {"X-Moz": "prefetch"}, False, False),
]

EFFECTS = [
    ("GET", "/generate?prompt=x"),
    ("POST", "/generate"),
    ("GET", "/generate/abc"),
    ("DELETE", "/generate/abc"),
    ("POST", "/generate/abc/stop"),
]
LOGS = [("GET", "/logs"), ("GET", "/logs/records"), ("POST", "/logs/records/1/replay")]
HARMLESS = ["/", "/docs", "/health", "/metrics", "/models", "/openapi.json", "/static/a.css"]


def headers(
    site: str | None, mode: str | None, origin: str | None, extra: dict[str, str]
) -> dict[str, str]:
    named = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Origin": origin}
    return {name: value for name, value in named.items() if value is not None} | extra


def check(method: str, url: str, sent: dict[str, str], allowed: bool) -> None:
    site = Guarded(trusted_origin=[TRUSTED])
    pairs = {"host": "127.0.0.1:8000", "content-type": "application/json"} | sent
    raw = [(name.lower().encode(), value.encode()) for name, value in pairs.items()]
    status = site.status(method, url, raw, b'{"prompt": "x"}')
    if allowed:
        assert (status, site.ran) == (200, [url.partition("?")[0]])
    else:
        assert (status, site.ran, site.reasons) == (403, [], ["cross_site"])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: "/".join(map(str, row[:4])))
def test_only_whom_the_table_names_starts_and_stops_generations(row: Row) -> None:
    for method, url in EFFECTS:
        check(method, url, headers(*row[:4]), row[4])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: "/".join(map(str, row[:4])))
def test_only_whom_the_table_names_is_shown_the_log(row: Row) -> None:
    for method, url in LOGS:
        check(method, url, headers(*row[:4]), row[5])


@pytest.mark.parametrize("path", HARMLESS)
def test_a_plain_link_from_anywhere_leads_to_a_harmless_page(path: str) -> None:
    check("GET", path, headers("cross-site", "navigate", None, {}), True)


def test_a_typed_in_generation_is_refused_with_what_to_do_instead() -> None:
    sent = headers("none", "navigate", None, {})
    response = Guarded().client().get("/generate?prompt=x", headers=sent)
    assert "open the page at /" in response.json()["detail"]


def test_another_site_is_told_how_to_be_trusted() -> None:
    sent = headers("cross-site", "cors", "https://evil.example", {})
    response = Guarded().client().get("/generate?prompt=x", headers=sent)
    assert response.headers["content-type"] == "application/problem+json"
    assert "--trusted-origin" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/login", "/a-route-of-tomorrow", "/generate/abc/of-tomorrow"])
def test_what_is_not_known_to_be_harmless_is_guarded(path: str) -> None:
    sent = headers("cross-site", "no-cors", None, {})
    assert Guarded().client().post(path, headers=sent).status_code == 403


def test_the_login_form_may_be_reached_by_a_link() -> None:
    sent = headers("cross-site", "navigate", None, {})
    assert Guarded().client().get("/login", headers=sent).status_code == 200


def test_a_prefix_of_a_proxy_hides_nothing() -> None:
    sent = headers("none", "navigate", None, {})
    below = TestClient(Guarded().app, base_url=OWN, root_path="/vault")
    assert below.get("/vault/generate?prompt=x", headers=sent).status_code == 403


def test_head_and_options_are_guarded_too() -> None:
    sent = headers("cross-site", "no-cors", None, {})
    assert Guarded().client().head("/generate?prompt=x", headers=sent).status_code == 403
    assert Guarded().client().options("/generate", headers=sent).status_code == 403


def test_without_named_origins_there_is_no_cors_at_all() -> None:
    response = Guarded().client().get("/models", headers={"Origin": "https://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_trusted_origin_gets_its_preflight_exactly_and_without_credentials() -> None:
    site = Guarded(trusted_origin=[TRUSTED], api_key=["k"])
    sent = headers("cross-site", "cors", TRUSTED, {}) | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,last-event-id",
    }
    response = site.client().options("/generate", headers=sent)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == TRUSTED
    assert "access-control-allow-credentials" not in response.headers
    assert site.ran == []


def test_an_unknown_origin_gets_no_preflight() -> None:
    site = Guarded(trusted_origin=[TRUSTED])
    sent = headers("cross-site", "cors", "https://evil.example", {}) | {
        "Access-Control-Request-Method": "POST"
    }
    response = site.client().options("/generate", headers=sent)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_a_trusted_origin_may_read_the_answer() -> None:
    site = Guarded(trusted_origin=[TRUSTED + "/"])
    sent = headers("cross-site", "cors", TRUSTED, {})
    response = site.client().get("/generate?prompt=x", headers=sent)
    assert response.headers["access-control-allow-origin"] == TRUSTED
    assert "Origin" in response.headers["vary"]
    assert "MiniVault-Id" in response.headers["access-control-expose-headers"]


def test_blanks_among_the_trusted_origins_do_not_switch_the_guard_off() -> None:
    """An origin of no letters is what a request without Origin would be compared with."""
    guard = CrossSiteGuard(trusted=["", " ", "https://example.org"])
    assert guard.trusted == {"https://example.org"}
    site = Guarded(trusted_origin=["", "https://example.org"])
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert site.client().get("/generate?prompt=x", headers=headers).status_code == 403
