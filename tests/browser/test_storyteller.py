"""The page with the real model that comes with the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.processes import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_story_streams_in_is_logged_and_replays(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, "--model", "storyteller", "--offline") as server:
        chat = ChatPage(page, server.url.rstrip("/")).open()
        expect(page.locator("#model")).to_contain_text("storyteller")
        expect(page.locator("#library")).to_contain_text("Once upon a time")
        page.get_by_label("Show probabilities").check()
        chat.parameter("max_tokens").fill("40")
        text = chat.ask("Once upon a time there was a little fox who")
        record = json.loads((tmp_path / "logs" / "log.jsonl").read_text().splitlines()[-1])
        assert text == record["response"]
        assert record["model"]["name"] == "storyteller"
        assert len(record["logprobs"]) == record["usage"]["completion_tokens"]
        expect(page.locator("#gauge")).to_contain_text("of 512 tokens")
        assert chat.last.locator(".token").count() >= 30
        chat.act("Continue")
        expect(chat.exchanges).to_have_count(2)
        chat.wait()
        chat.last.locator(".receipt").click()
        page.get_by_role("button", name="Replay").click()
        expect(page.locator(".replay")).to_contain_text("The same, byte for byte")
