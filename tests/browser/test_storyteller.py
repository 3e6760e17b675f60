"""The page with the real model that comes with the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.processes import Served, serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BEGINNING = "Once upon a time there was a little fox who"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("storyteller")
    with serving(folder, "--model", "storyteller", "--offline") as server:
        yield server


@pytest.fixture
def chat(page: Page, server: Served) -> ChatPage:
    return ChatPage(page, server.url.rstrip("/")).open()


def replays(chat: ChatPage) -> None:
    """The last answer's line, made again."""
    chat.last.locator(".receipt").click()
    chat.page.get_by_role("button", name="Replay").click()
    expect(chat.page.locator(".replay")).to_contain_text("The same, byte for byte")


def test_a_story_streams_in_is_logged_and_replays(chat: ChatPage, server: Served) -> None:
    expect(chat.page.locator("#model")).to_contain_text("storyteller")
    expect(chat.page.locator("#library")).to_contain_text("Once upon a time")
    chat.page.get_by_label("Show probabilities").check()
    chat.parameter("max_tokens").fill("40")
    chat.parameter("seed").fill("5")  # with some others it comes to its end sooner
    text = chat.ask(BEGINNING)
    record = server.records()[-1]
    assert text == record["response"]
    assert record["model"]["name"] == "storyteller"
    # A sentence's end is seen by the token behind it, which is computed and not said.
    assert "".join(each["token"] for each in record["logprobs"]).startswith(text)
    assert record["usage"]["completion_tokens"] - len(record["logprobs"]) in (0, 1)
    expect(chat.page.locator("#gauge")).to_contain_text("of 512 tokens")
    expect(chat.last.locator(".token").nth(29)).to_be_attached()
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    replays(chat)


def test_a_story_ends_with_a_sentence_and_goes_on_from_there(
    chat: ChatPage, server: Served
) -> None:
    chat.parameter("seed").fill("5")
    text = chat.ask(BEGINNING)
    record = server.records()[-1]
    assert text == record["response"]
    assert re.search(r"[.!?…][\"'”’]*\s*$", text)
    assert record["finish_reason"] == "stop"
    assert record["params"]["sentence_after"] == 240
    assert 240 < record["usage"]["completion_tokens"] < 320
    expect(chat.last.locator(".facts")).not_to_contain_text("cut")
    expect(chat.last.locator("[data-action=continue]")).to_have_class("main")
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    assert server.records()[-1]["prompt"] == BEGINNING + text
    replays(chat)
