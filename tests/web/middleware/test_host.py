"""The table of names: which Host this server answers to."""

from __future__ import annotations

import pytest

from tests.web.guarded import Guarded

OWN = [
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "[::1]",
    "localhost:8000",
    "127.0.0.1:8000",
    "[::1]:8000",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost.",
    "127.1",
    "0.0.0.0",
    "0.0.0.0:8000",
    "",
    "a,localhost",
    "localhost@evil.example",
    "localhost:8000@evil.example",
    "evil.example#localhost",
    "localhost:9000",
    "127.0.0.1:80",
    "[::1]:1",
    "::1",
    "[::1",
    "localhost:8000:8000",
    "localhost:",
    "localhost:\u0668000",
    "192.168.1.5",
    "[::ffff:127.0.0.1]",
    "printer.local",
]


@pytest.mark.parametrize("host", OWN)
def test_an_own_name_is_answered(host: str) -> None:
    site = Guarded()
    assert site.client().get("/models", headers={"Host": host}).status_code == 200
    assert site.ran == ["/models"]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_is_refused_before_anything_runs(host: str) -> None:
    site = Guarded()
    response = site.client().get("/models", headers=[(b"Host", host.encode())])
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert "--allowed-host" in response.json()["detail"]
    assert site.ran == []
    assert site.reasons == ["host"]


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil"]])
def test_exactly_one_host_is_wanted(hosts: list[bytes]) -> None:
    assert status(Guarded(), hosts) == 400


def status(site: Guarded, hosts: list[bytes], server: tuple[str, int] | None = None) -> int:
    headers = [(b"host", host) for host in hosts]
    return site.status("GET", "/models", headers, server=server or ("127.0.0.1", 8000))


def test_the_names_of_the_settings_are_answered_with_any_port_or_their_own() -> None:
    site = Guarded(allowed_host=["Vault.example", "other.example:8443"])
    assert status(site, [b"vault.example"]) == 200
    assert status(site, [b"VAULT.EXAMPLE:9000"]) == 200
    assert status(site, [b"other.example:8443"]) == 200
    assert status(site, [b"other.example"]) == 400
    assert status(site, [b"www.vault.example"]) == 400


def test_the_bound_address_is_an_own_name() -> None:
    site = Guarded(host="vault.lan", api_key=["k"], insecure=True)
    assert status(site, [b"vault.lan:8000"]) != 400
    assert status(Guarded(), [b"vault.lan:8000"]) == 400


def test_bound_to_every_address_it_answers_to_the_one_the_connection_came_in_on() -> None:
    site = Guarded(host="0.0.0.0", api_key=["k"])
    assert status(site, [b"192.168.1.5:8000"], ("192.168.1.5", 8000)) == 401
    assert status(site, [b"[fe80::1]:8000"], ("fe80::1", 8000)) == 401
    assert status(site, [b"192.168.1.6:8000"], ("192.168.1.5", 8000)) == 400
    assert status(site, [b"0.0.0.0:8000"], ("127.0.0.1", 8000)) == 400
    assert status(site, [b"vault.lan"], ("vault.lan", 8000)) == 400
