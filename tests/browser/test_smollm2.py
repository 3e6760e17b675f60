"""The page with a real chat model."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.gguf.smollm2 import smollm2
from tests.processes import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUESTION = "Give three tips for a good night's sleep, as a Markdown list with bold words."


def test_a_list_is_a_list_and_a_cut_answer_goes_on_in_itself(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, "--model", str(smollm2()), "--offline") as server:
        chat = ChatPage(page, server.url.rstrip("/")).open(formatted=True)
        expect(page.locator("#library")).to_contain_text("why the sky is blue")
        chat.parameter("temperature").fill("0")
        chat.parameter("seed").fill("1")
        chat.parameter("max_tokens").fill("30")
        chat.ask(QUESTION)
        items = page.locator(".formatted:visible > ol > li")
        expect(items).to_have_count(2)
        expect(page.locator(".formatted")).not_to_contain_text("1.")
        chat.act("Continue")
        expect(chat.exchanges).to_have_count(2)
        chat.wait()
        expect(items).to_have_count(3)
        first, second = server.records()
        said = [(each["role"], each["content"]) for each in second["messages"]]
        assert said == [("user", QUESTION), ("assistant", first["response"])]
        assert second["prompt"].endswith(first["response"])
        assert "sentence_after" not in second["params"]
        expect(chat.parameter("end_at_sentence")).to_be_hidden()
        with page.expect_download() as download:
            chat.act("Share")
        shared = Path(download.value.path()).read_text(encoding="utf-8")
        assert first["response"] + second["response"] in shared
        page.get_by_role("button", name="Reset all").click()
        chat.begin()
        chat.ask("What is the capital of France? Answer with one word.")
        assert server.records()[-1]["finish_reason"] == "stop"
        asked = server.records()[-1]["params"]
        assert asked["max_tokens_requested"] == 8192
        assert (asked["temperature"], asked["top_p"]) == (0, 0.9)
        expect(chat.parameter("temperature")).to_have_value("0")
