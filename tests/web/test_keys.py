"""Who gets in: on loopback, off loopback, by Bearer token, by cookie, by the form."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from minivault.web.keys import Door, Keyring
from minivault.web.middleware.keys import Need, is_loopback, needed
from tests.web.guarded import Guarded

KEY, LOG_KEY = "correct-horse", "battery-staple"
LAN = "http://192.168.1.5:8000"
EVERYTHING = ["/", "/generate", "/logs", "/logs/records", "/metrics", "/models", "/docs"]
OPEN = ["/login", "/static/a.css"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def on_loopback(**options: Any) -> TestClient:
    return Guarded(**options).client()


def off_loopback(**options: Any) -> TestClient:
    return Guarded(host="0.0.0.0", **options).client(LAN)


def let_in(client: TestClient, paths: list[str], headers: dict[str, str] | None = None) -> set[str]:
    return {path for path in paths if client.get(path, headers=headers).status_code == 200}


def test_on_loopback_without_keys_everything_is_open() -> None:
    assert let_in(on_loopback(), EVERYTHING + OPEN) == {*EVERYTHING, *OPEN}


def test_with_a_key_everything_but_the_form_needs_it() -> None:
    client = on_loopback(api_key=[KEY])
    assert let_in(client, EVERYTHING + OPEN) == set(OPEN)
    assert let_in(client, EVERYTHING, bearer(KEY)) == set(EVERYTHING)
    assert let_in(client, EVERYTHING, bearer("wrong")) == set()


def test_with_a_log_key_the_log_has_a_door_of_its_own() -> None:
    logs = ["/logs", "/logs/records"]
    client = on_loopback(log_key=[LOG_KEY])
    assert let_in(client, EVERYTHING) == set(EVERYTHING) - set(logs)
    assert let_in(client, EVERYTHING, bearer(LOG_KEY)) == set(EVERYTHING)
    both = on_loopback(api_key=[KEY], log_key=[LOG_KEY])
    assert let_in(both, EVERYTHING, bearer(KEY)) == set(EVERYTHING) - set(logs)
    assert let_in(both, EVERYTHING, bearer(LOG_KEY)) == set(logs)


def test_off_loopback_the_log_needs_a_key_of_its_own() -> None:
    client = off_loopback(api_key=[KEY])
    assert let_in(client, EVERYTHING, bearer(KEY)) == set(EVERYTHING) - {"/logs", "/logs/records"}
    response = client.get("/logs/records", headers=bearer(KEY))
    assert response.status_code == 401
    assert "--log-key" in response.json()["detail"]


def test_off_loopback_insecure_opens_generations_but_nothing_that_tells_of_others() -> None:
    client = off_loopback(insecure=True)
    assert let_in(client, EVERYTHING) == {"/", "/generate"}


def test_a_server_that_is_reached_off_loopback_without_saying_so_answers_nothing() -> None:
    """As under plain uvicorn with --host: the settings say loopback, the connection does not."""
    client = Guarded().client(LAN)
    assert let_in(client, EVERYTHING) == set()
    assert "--api-key" in client.get("/generate").json()["detail"]


def test_a_connection_by_unix_socket_counts_as_loopback() -> None:
    site = Guarded()

    async def by_socket(scope: Any, receive: Any, send: Any) -> None:
        await site.app({**scope, "server": None}, receive, send)

    assert TestClient(by_socket, base_url="http://localhost").get("/models").status_code == 200


@pytest.mark.parametrize(
    "options, headers, keyed",
    [
        ({}, {}, True),
        ({"api_key": [KEY]}, {}, False),
        ({"api_key": [KEY]}, bearer(KEY), True),
        ({"api_key": [KEY]}, bearer("wrong"), False),
    ],
)
def test_health_always_answers_and_knows_whether_to_tell_details(
    options: Any, headers: dict[str, str], keyed: bool
) -> None:
    site = Guarded(**options)
    assert site.client().get("/health", headers=headers).status_code == 200
    assert site.states[0]["keyed"] is keyed


def test_off_loopback_health_tells_details_only_with_a_key() -> None:
    site = Guarded(host="0.0.0.0", insecure=True)
    assert site.client(LAN).get("/health").status_code == 200
    assert site.states[0]["keyed"] is False


def test_several_keys_are_several_callers() -> None:
    site = Guarded(api_key=[KEY, "another-key"])
    for key in (KEY, "another-key", KEY):
        site.client().get("/models", headers=bearer(key))
    first, other, again = (state["caller"] for state in site.states)
    assert first == again != other
    assert KEY not in first
    anonymous = Guarded()
    anonymous.client().get("/models")
    assert anonymous.states[0]["caller"] == ""


def test_a_refusal_says_how_to_bring_a_key() -> None:
    response = on_loopback(api_key=[KEY]).get("/generate?prompt=x")
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        "Bearer \u00e9",
        "Bearer \x00",
    ],
)
def test_what_is_no_key_is_none(authorization: str) -> None:
    sent = [(b"Authorization", authorization.encode())]
    assert on_loopback(api_key=[KEY]).get("/models", headers=sent).status_code == 401


def test_the_scheme_is_read_as_browsers_and_programs_write_it() -> None:
    client = on_loopback(api_key=[KEY])
    assert client.get("/models", headers={"Authorization": f"bearer   {KEY} "}).status_code == 200


def test_a_key_outside_of_ascii_works() -> None:
    client = on_loopback(api_key=["schl\u00fcssel"])
    sent = [(b"Authorization", "Bearer schl\u00fcssel".encode())]
    assert client.get("/models", headers=sent).status_code == 200


# ---- the form ------------------------------------------------------------------------------------


def log_in(client: TestClient, key: str, destination: str = "/") -> Any:
    return client.post("/login", data={"key": key, "next": destination})


def test_a_person_is_led_to_the_form_and_back() -> None:
    client = on_loopback(api_key=[KEY])
    page = {"Accept": "text/html,*/*", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
    response = client.get("/docs", headers=page)
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=%2Fdocs")
    form = client.get(response.headers["location"])
    assert 'value="/docs"' in form.text
    response = log_in(client, KEY, "/docs")
    assert (response.status_code, response.headers["location"]) == (303, "/docs")
    assert client.get("/docs", headers=page).status_code == 200
    assert client.get("/generate?prompt=x").status_code == 200


def test_the_cookie_is_closed_to_scripts_and_other_sites_and_is_not_the_key() -> None:
    response = log_in(on_loopback(api_key=[KEY]), KEY)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("minivault_key=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert KEY not in cookie


def test_over_https_the_cookie_is_secure() -> None:
    client = Guarded(api_key=[KEY]).client("https://127.0.0.1:8000")
    assert "Secure" in log_in(client, KEY).headers["set-cookie"]


def test_a_key_opens_only_its_own_door() -> None:
    client = on_loopback(api_key=[KEY], log_key=[LOG_KEY])
    log_in(client, LOG_KEY)
    assert let_in(client, EVERYTHING) == {"/logs", "/logs/records"}
    log_in(client, KEY)
    assert let_in(client, EVERYTHING) == set(EVERYTHING)


def test_a_wrong_key_gets_the_form_again_and_no_cookie() -> None:
    response = log_in(on_loopback(api_key=[KEY]), "guess<script>", "/docs")
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert "guess" not in response.text
    assert 'role="alert"' in response.text
    assert 'value="/docs"' in response.text


@pytest.mark.parametrize(
    "destination", ["https://evil.example", "//evil.example", "/\\evil", "javascript:1", "/x", ""]
)
def test_the_form_leads_to_no_other_place(destination: str) -> None:
    client = on_loopback(api_key=[KEY])
    assert log_in(client, KEY, destination).headers["location"] == "/"


@pytest.mark.parametrize("body", [b"", b"key", b"\xff=\xff", b"key=" + b"x" * 5000, b"a=1&" * 9000])
def test_whatever_is_posted_is_no_key(body: bytes) -> None:
    assert on_loopback(api_key=[KEY]).post("/login", content=body).status_code == 401


def test_a_link_from_another_site_reloads_so_that_the_cookie_comes_along() -> None:
    """A SameSite=Strict cookie is not sent with the link itself, only with the reload."""
    client = on_loopback(api_key=[KEY])
    link = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    response = client.get("/", headers=link)
    assert response.status_code == 200
    assert 'http-equiv="refresh"' in response.text
    reload = link | {"Sec-Fetch-Site": "same-origin"}
    assert client.get("/", headers=reload).headers["location"] == "/login?next=%2F"


def test_a_cookie_of_another_secret_or_key_opens_nothing() -> None:
    ours = Keyring(api=[SecretStr(KEY)], secret=b"one")
    cookies = ours.cookies(KEY)
    headers = Headers({"Cookie": f"a=b; minivault_key={cookies[Door.API]}"})
    assert ours.caller(Door.API, headers)
    assert not Keyring(api=[SecretStr(KEY)], secret=b"two").caller(Door.API, headers)
    assert not Keyring(api=[SecretStr("other")], secret=b"one").caller(Door.API, headers)
    assert not Keyring(logs=[SecretStr(KEY)], secret=b"one").caller(Door.LOGS, headers)


def test_servers_that_share_a_secret_accept_each_others_cookie() -> None:
    one, other = (Keyring(api=[SecretStr(KEY)], secret=b"shared") for _ in range(2))
    assert one.cookies(KEY) == other.cookies(KEY)


@pytest.mark.parametrize("door", ["api", "logs"])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_key_is_refused(door: str, empty: str) -> None:
    with pytest.raises(ValueError, match="empty key"):
        Keyring(**{door: [SecretStr(KEY), SecretStr(empty)]}, secret=b"one")


def test_a_blank_behind_the_last_comma_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAULT_API_KEY", "first-key, second-key, ")
    client = Guarded().client()
    for nothing in ("Bearer", "Bearer ", "Bearer  \t"):
        sent = [(b"Authorization", nothing.encode())]
        assert client.get("/models", headers=sent).status_code == 401
    assert log_in(client, "").status_code == 401
    assert client.get("/models", headers=bearer("second-key")).status_code == 200


def test_keys_are_not_kept() -> None:
    keyring = Keyring(api=[SecretStr(KEY)], secret=b"one")
    assert KEY not in repr(vars(keyring))


@pytest.mark.parametrize(
    "path, need",
    [
        ("/", Need.API),
        ("/a-route-of-tomorrow", Need.API),
        ("/generate/abc", Need.API),
        ("/openapi.json", Need.API),
        ("/logs", Need.LOGS),
        ("/logs/records/1", Need.LOGS),
        ("/logsx", Need.API),
        ("/login", Need.NOTHING),
        ("/login/x", Need.API),
        ("/static/js/main.js", Need.NOTHING),
        ("/staticx", Need.API),
        ("/health", Need.STATUS),
        ("/metrics", Need.INSIGHT),
    ],
)
def test_what_is_not_named_needs_a_key(path: str, need: Need) -> None:
    assert needed(path) is need


@pytest.mark.parametrize(
    "host, loopback",
    [
        ("127.0.0.1", True),
        ("127.5.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("::ffff:192.168.1.5", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
