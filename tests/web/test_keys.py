"""Who gets in: on loopback, off loopback, by Bearer token, by cookie, by the form."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from minivault.web import ended_logins
from minivault.web.attempts import FORGOTTEN_AFTER, FREE, MOST_ADDRESSES, Attempts
from minivault.web.ended_logins import EndedLogins
from minivault.web.keys import Door, Keyring
from minivault.web.middleware.keys import Need, is_loopback, needed
from tests.live import live_server
from tests.web.guarded import OWN, Guarded

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


def test_a_key_may_come_as_x_api_key() -> None:
    client = on_loopback(api_key=[KEY])
    assert client.get("/models", headers={"x-api-key": KEY}).status_code == 200
    assert client.get("/models", headers={"x-api-key": f"{KEY}x"}).status_code == 401
    both = {"x-api-key": KEY, "Authorization": "Bearer wrong"}
    assert client.get("/models", headers=both).status_code == 401


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
    assert re.match(r"minivault_key_[0-9a-f]{8}=", cookie)
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
    headers = Headers({"Cookie": "a=b; " + "; ".join(map("=".join, cookies.items()))})
    assert ours.caller(Door.API, headers)
    assert not Keyring(api=[SecretStr(KEY)], secret=b"two").caller(Door.API, headers)
    assert not Keyring(api=[SecretStr("other")], secret=b"one").caller(Door.API, headers)
    assert not Keyring(logs=[SecretStr(KEY)], secret=b"one").caller(Door.LOGS, headers)


def test_servers_that_share_a_secret_accept_each_others_cookie() -> None:
    one, other = (Keyring(api=[SecretStr(KEY)], secret=b"shared") for _ in range(2))
    [(name, value)] = one.cookies(KEY).items()
    assert other.caller(Door.API, Headers({"Cookie": f"{name}={value}"}))


def test_two_servers_on_one_host_do_not_log_each_other_out(tmp_path: Path) -> None:
    """Cookies know no ports; whoever shares a secret, as behind one proxy, shares the login."""
    with (
        httpx.Client(trust_env=False) as jar,
        live_server(tmp_path / "one", api_key=[KEY]) as one,
        live_server(tmp_path / "other", api_key=["another-key"]) as other,
    ):
        secret = one.service.settings.logs_dir / "secret"
        with live_server(tmp_path / "third", api_key=[KEY], secret_file=secret) as third:
            for server, key in ((one, KEY), (other, "another-key")):
                jar.post(f"{server.url}/login", data={"key": key})
            answers = [jar.get(f"{server.url}/models") for server in (one, other, third)]
    assert [each.status_code for each in answers] == [200, 200, 200]
    assert len(jar.cookies) == 2


# ---- the end of a login -----------------------------------------------------------------------


def test_a_login_can_be_ended_and_a_copy_of_its_cookie_with_it() -> None:
    site = Guarded(api_key=[KEY])
    client, thief = site.client(), site.client()
    log_in(client, KEY)
    thief.cookies.update(client.cookies)
    assert thief.get("/models").status_code == 200
    assert "Log out" in client.get("/login").text
    own = {"Sec-Fetch-Site": "same-origin", "Origin": OWN}
    left = client.post("/logout", headers=own)
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert not client.cookies
    assert client.get("/models").status_code == thief.get("/models").status_code == 401
    assert "Log out" not in thief.get("/login").text
    assert log_in(client, KEY).status_code == 303, "the key itself goes on"
    assert client.get("/models").status_code == 200


def test_an_ended_login_stays_ended_when_the_server_starts_anew(tmp_path: Path) -> None:
    """On every server on that log folder, and whatever else is in the file."""
    folder = tmp_path / "logs"
    with httpx.Client(trust_env=False) as jar, live_server(tmp_path, api_key=[KEY]) as one:
        jar.post(f"{one.url}/login", data={"key": KEY})
        stolen = dict(jar.cookies)
        with live_server(tmp_path, api_key=[KEY]) as beside:
            assert httpx.get(f"{beside.url}/models", cookies=stolen).status_code == 200
            (folder / ended_logins.NAME).write_bytes(b"\xff half a li")
            (folder / ended_logins.NAME).chmod(0o600)
            assert jar.post(f"{one.url}/logout").status_code == 303
            jar.post(f"{one.url}/login", data={"key": KEY})
            assert jar.post(f"{one.url}/logout").status_code == 303
            assert httpx.get(f"{beside.url}/models", cookies=stolen).status_code == 401
    with live_server(tmp_path, api_key=[KEY]) as later:
        assert httpx.get(f"{later.url}/models", cookies=stolen).status_code == 401
        assert httpx.get(f"{later.url}/models", headers=bearer(KEY)).status_code == 200
    assert (folder / ended_logins.NAME).stat().st_mode & 0o777 == 0o600


def test_a_login_that_cannot_be_ended_for_good_is_ended_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ended_logins.NAME).mkdir()
    ended = EndedLogins(tmp_path)
    keyring = Keyring(api=[SecretStr(KEY)], secret=b"one", ended=ended)
    sent = Headers({"cookie": "; ".join(f"{n}={v}" for n, v in keyring.cookies(KEY).items())})
    assert keyring.caller(Door.API, sent)
    keyring.log_out(sent)
    assert keyring.caller(Door.API, sent) is None
    assert "after a restart its cookie holds again" in caplog.text


def test_what_is_kept_of_ended_logins_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_logins, "_TIDY_AT", 1000)
    ended, now = EndedLogins(tmp_path), int(time.time())
    for number in range(60):
        ended.add(f"{number:032x}", now - (ended_logins.LIFETIME + 1 if number < 40 else 0))
    assert (tmp_path / ended_logins.NAME).stat().st_size < 60 * 44
    assert f"{59:032x}" in EndedLogins(tmp_path)


def test_nobody_is_logged_out_by_another_site() -> None:
    client = on_loopback(api_key=[KEY])
    log_in(client, KEY)
    assert client.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/models").status_code == 200


def test_a_login_grows_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    client = on_loopback(api_key=[KEY])
    log_in(client, KEY)
    later = time.time() + ended_logins.LIFETIME + 1
    monkeypatch.setattr("minivault.web.logins.time.time", lambda: later)
    assert client.get("/models").status_code == 401


@pytest.mark.parametrize("change", [".", "0", "x", "", "\u00e9"])
def test_a_changed_cookie_is_none(change: str) -> None:
    keyring = Keyring(api=[SecretStr(KEY)], secret=b"one")
    [(name, value)] = keyring.cookies(KEY).items()
    for at in range(0, len(value), 7):
        changed = value[:at] + change + value[at + 1 :]
        if changed != value:
            sent = Headers(raw=[(b"cookie", f"{name}={changed}".encode("latin-1"))])
            assert keyring.caller(Door.API, sent) is None


# ---- wrong keys -------------------------------------------------------------------------------


def test_wrong_keys_are_counted_and_after_a_few_they_have_to_wait() -> None:
    site = Guarded(api_key=[KEY])
    client = site.client()
    assert [log_in(client, "wrong").status_code for _ in range(6)] == [401] * 5 + [429]
    late = log_in(client, KEY)
    assert (late.status_code, late.headers["retry-after"]) == (429, "1")
    assert "Try again in 1 s" in late.text
    assert site.reasons.count("login") == 7


def test_wrong_tokens_have_to_wait_too_but_not_a_key_that_came_from_there_before() -> None:
    site = Guarded(api_key=[KEY, "another-key"], log_key=[LOG_KEY])
    client = site.client()

    def statuses(key: str, path: str = "/models", count: int = 1) -> set[int]:
        return {client.get(path, headers=bearer(key)).status_code for _ in range(count)}

    assert statuses(KEY) == {200}
    log_in(client, KEY)
    with_cookie = dict(client.cookies)
    client.cookies.clear()
    assert statuses(LOG_KEY, count=9) == {401}, "a key, though of another door, is no guess"
    assert statuses("wrong", count=FREE) == {401}
    for late in ("wrong", "another-key"):
        refused = client.get("/models", headers=bearer(late))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "wrong keys came from this address" in refused.json()["detail"]
        assert statuses(late, "/static/a.css") == statuses(late, "/login") == {200}
        assert statuses(late, "/health") == {200}
        assert site.states[-1] == {**site.states[-1], "keyed": False, "caller": ""}
    assert statuses(KEY) == statuses(LOG_KEY, "/logs") == {200}
    assert log_in(client, "another-key").status_code == 429, "the form asks the same doorkeeper"
    assert site.reasons.count("key") == 9 + FREE + 2
    client.cookies.update(with_cookie)
    assert statuses("wrong") == {200}, "a cookie is no guess, and it goes first"


def test_the_wait_doubles_up_to_a_bound_and_is_of_one_address() -> None:
    now = [1000.0]
    attempts = Attempts(lambda: now[0])
    waits = []
    for _ in range(FREE + 6):
        attempts.failed("192.0.2.1")
        waits.append(attempts.wait("192.0.2.1"))
        now[0] += waits[-1]
    assert waits == [0.0] * 4 + [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    attempts.failed("192.0.2.1")
    assert attempts.wait("192.0.2.2") == 0
    now[0] += FORGOTTEN_AFTER + 1
    attempts.failed("192.0.2.1")
    assert attempts.wait("192.0.2.1") == 0


def test_an_ipv6_network_is_one_address_and_a_flood_of_them_is_bounded() -> None:
    attempts = Attempts()
    for number in range(FREE):
        attempts.failed(f"2001:db8::{number:x}")
    assert attempts.wait("2001:db8::ffff") > 0
    assert attempts.wait("2001:db8:0:1::") == 0
    for number in range(2 * MOST_ADDRESSES):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._failures) == MOST_ADDRESSES


@pytest.mark.parametrize("door", ["api", "logs"])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_key_is_refused(door: str, empty: str) -> None:
    with pytest.raises(ValueError, match="empty key"):
        Keyring(secret=b"one", **{door: [SecretStr(KEY), SecretStr(empty)]})  # type: ignore[arg-type]


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
