"""The pages as they are served: complete, with the policy, and everything they name is there."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest

from minivault.schemas import Parameters
from minivault.web.policies import PAGE_POLICY
from tests.live import LiveServer, live_server
from tests.tools import tool


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("pages")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/logs"])
def test_a_page_comes_with_its_policy_and_is_not_kept(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/logs"])
def test_everything_a_page_names_is_there(client: httpx.Client, path: str) -> None:
    page = client.get(path).text
    names = re.findall(r'(?:src|href|data-then)="(static/[^"]+|manifest[^"]+)"', page)
    assert 6 <= len(names) <= 7  # the vault names the page that checks proofs too
    for name in names:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", ["chat", "logs"])
def test_a_pages_modules_come_as_one_script_without_comments(
    client: httpx.Client, page: str, tmp_path: Path
) -> None:
    answer = client.get(f"/static/js/{page}.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(f"/static/js/{page}.js", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert not re.search(r"^(import|export) |/\*\*|@type", answer.text, re.MULTILINE)
    assert "class List extends" in answer.text or "class Chat extends" in answer.text
    script = tmp_path / "script.mjs"
    script.write_text(answer.text, encoding="utf-8")
    subprocess.run([tool("node"), "--check", str(script)], check=True, timeout=60)


@pytest.mark.parametrize("page", ["chat", "logs", "docs", "login"])
def test_a_pages_style_sheets_come_as_one_without_comments(client: httpx.Client, page: str) -> None:
    answer = client.get(f"/static/css/{page}.css")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.text.startswith("@layer tokens,base,page;\n@layer tokens{\n:root{")
    assert not re.search(r"@import|/\*|^\s|[:;,{}] ", answer.text, re.MULTILINE)
    assert answer.text.count("{") == answer.text.count("}")
    again = client.get(f"/static/css/{page}.css", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_controls_are_made_from_the_schema(client: httpx.Client) -> None:
    found = re.search(r"data-parameters='([^']+)'", client.get("/").text)
    assert found
    parameters = dict(json.loads(unescape(found[1])))
    assert list(parameters) == list(Parameters.model_fields)
    assert parameters["temperature"]["maximum"] == 2


def test_a_file_that_has_not_changed_is_not_sent_again(client: httpx.Client) -> None:
    etag = client.get("/static/css/base.css").headers["etag"]
    again = client.get("/static/css/base.css", headers={"If-None-Match": etag})
    assert again.status_code == 304


def test_a_mistyped_address_is_a_page_for_a_browser_and_json_for_a_program(
    client: httpx.Client,
) -> None:
    page = client.get("/typo", headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 404
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == PAGE_POLICY
    assert '<a href="/">Chat</a>' in page.text
    assert client.get("/typo").headers["content-type"] == "application/problem+json"


def test_the_favicon_and_the_manifest_have_their_types(client: httpx.Client) -> None:
    assert client.get("/favicon.ico").headers["content-type"] == "image/x-icon"
    manifest = client.get("/manifest.webmanifest")
    assert manifest.headers["content-type"] == "application/manifest+json"
    for icon in manifest.json()["icons"]:
        assert client.get(f"/{icon['src']}").status_code == 200


def test_a_generation_is_told_of_in_one_line(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="minivault"):
        client.post("/generate", json={"prompt": "CANARY", "max_tokens": 5})
    (line,) = [each.getMessage() for each in caplog.records if "token" in each.getMessage()]
    assert re.fullmatch(r"line 1  5 tokens  (\d+/s  )?length  text", line)
