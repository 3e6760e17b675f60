"""An answer as one file: it opens anywhere, and tells how to check it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import assert_accessible
from tests.browser.backends import Says
from tests.browser.chat_page import ChatPage
from tests.browser.test_quality import HOSTILE
from tests.live import live_server
from tests.processes import minivault
from tests.vault.tree.signed_log import GOLDEN, write_key

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_an_answer_is_shared_with_its_line(page: Page, tmp_path: Path) -> None:
    write_key(key := tmp_path / "key")
    with live_server(tmp_path, Says(HOSTILE), signing_key=key) as server:
        chat = ChatPage(page, server.url).open()
        text = chat.ask("<b>Say it</b> & more")
        with page.expect_download() as download:
            chat.act("Share")
        name = download.value.suggested_filename
        file = tmp_path / name
        download.value.save_as(file)
        line = server.log.read_bytes().splitlines()[0]
        logs = str(server.log.parent)
    assert name == "minivault-line-1.html"
    html = file.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    found = re.search(r'id="minivault-line"[^>]*>([^<]*)</script>', html)
    assert found
    assert base64.b64decode(found[1]) == line
    page.goto(file.as_uri())
    expect(page.locator(".prompt")).to_have_text("<b>Say it</b> & more")
    shown = page.locator(".said").evaluate("node => node.textContent")
    assert shown == "<b>Say it</b> & more" + text.replace("\0", "\ufffd")
    expect(page.locator("table")).to_contain_text("says")
    assert page.locator(".said *:not(.prompt)").count() == 0
    assert_accessible(page)
    held = minivault("logs", "check-receipt", str(file), "--logs-dir", logs, cwd=tmp_path)
    assert held.returncode == 0, held.stderr
    check = ("logs", "check", str(file), "--json", "--public-key", str(GOLDEN / "key.pub"))
    proven = minivault(*check, cwd=tmp_path)
    assert json.loads(proven.stdout)["record"]["response"] == text
    proof = re.search(r'id="minivault-proof">([^<]*)<', html)
    assert proof
    other = base64.b64encode(base64.b64decode(proof[1]).replace(b"index 0", b"index 1")).decode()
    file.write_text(html.replace(proof[1], other), encoding="utf-8")
    assert minivault(*check, cwd=tmp_path).returncode == 1
    file.write_text(html.replace("minivault-proof", "nothing"), encoding="utf-8")
    bare = minivault(*check, cwd=tmp_path)
    assert (bare.returncode, "holds no proof" in bare.stdout) == (1, True)
