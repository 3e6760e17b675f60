"""An answer as one file: it opens anywhere, and tells how to check it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import assert_accessible
from tests.browser.backends import Says
from tests.browser.chat_page import ChatPage
from tests.browser.test_quality import HOSTILE
from tests.live import live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_an_answer_is_shared_with_its_line(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Says(HOSTILE)) as server:
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
    command = [sys.executable, "-m", "minivault", "logs", "check-receipt", str(file)]
    checked = subprocess.run(
        [*command, "--logs-dir", logs], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
    assert "1" in checked.stdout
