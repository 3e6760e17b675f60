"""The probability view: tokens coloured by their probability, alternatives at hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.chat_page import ChatPage
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "fox fox fox fox crow"


def show(chat: ChatPage) -> None:
    chat.page.get_by_label("Show probabilities").check()


def test_each_token_is_coloured_and_the_text_stays_the_same(
    chat: ChatPage, echo: LiveServer
) -> None:
    show(chat)
    chat.parameter("max_tokens").fill("128")
    text = chat.ask(PROMPT)
    record = json.loads(echo.log.read_text().splitlines()[-1])
    assert text == record["response"]
    assert record["params"]["top_logprobs"] == 5
    expect(chat.last.locator(".token")).to_have_count(128)
    colours = chat.last.locator(".token").evaluate_all("all => all.map(e => e.className)")
    assert len(set(colours)) == 2  # fox is likelier than crow


def test_alternatives_show_on_hover_and_by_the_arrow_keys(chat: ChatPage) -> None:
    show(chat)
    chat.parameter("max_tokens").fill("10")
    chat.ask(PROMPT)
    card = chat.page.locator("#token-card")
    chat.last.locator(".token").nth(2).hover()
    expect(card).to_contain_text("%")
    assert card.locator("p").count() >= 3
    chat.prompt.hover()
    chat.last.get_by_role("group", name="token by token").focus()
    chat.page.keyboard.press("ArrowRight")
    chat.page.keyboard.press("ArrowRight")
    expect(chat.last.locator(".token.current")).to_have_count(1)
    expect(card).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_a_tap_opens_the_probabilities_and_the_next_one_elsewhere_closes_them(
    new_context: Callable[..., BrowserContext], echo: LiveServer
) -> None:
    page = new_context(viewport={"width": 360, "height": 740}, has_touch=True).new_page()
    chat = ChatPage(page, echo.url).open()
    page.get_by_role("button", name="Controls").tap()
    show(chat)
    chat.parameter("max_tokens").fill("10")
    page.keyboard.press("Escape")
    chat.ask(PROMPT)
    card = page.locator("#token-card")
    chat.last.locator(".token").nth(2).tap()
    expect(card).to_contain_text("%")
    expect(chat.last.locator(".token.current")).to_have_count(1)
    chat.last.locator(".token").nth(5).tap()
    expect(card).to_be_visible()
    chat.last.locator(".facts").tap(position={"x": 2, "y": 2})
    expect(card).to_be_hidden()


def test_the_view_can_be_left_and_comes_back_after_a_reload(chat: ChatPage) -> None:
    show(chat)
    chat.parameter("max_tokens").fill("10")
    text = chat.ask(PROMPT)
    chat.page.get_by_label("Show probabilities").uncheck()
    expect(chat.last.locator(".token")).to_have_count(0)
    assert chat.said() == text
    show(chat)
    expect(chat.last.locator(".token")).to_have_count(10)
    chat.page.reload()
    expect(chat.last.locator(".token")).to_have_count(10)
    assert chat.said() == text


def test_an_answer_without_probabilities_offers_to_be_made_again_with_them(chat: ChatPage) -> None:
    chat.parameter("max_tokens").fill("10")
    text = chat.ask(PROMPT)
    expect(chat.last.locator(".offer")).to_be_hidden()
    show(chat)
    expect(chat.last.locator(".offer")).to_contain_text("came without probabilities")
    chat.act("Make it again with them")
    expect(chat.last.locator(".token")).to_have_count(10)
    chat.wait()
    assert chat.said() == text
    expect(chat.last.locator(".offer")).to_be_hidden()
    expect(chat.last.locator(".facts")).to_contain_text("byte for byte")


def test_without_the_view_nothing_is_asked_for(chat: ChatPage, echo: LiveServer) -> None:
    chat.ask(PROMPT)
    record = json.loads(echo.log.read_text().splitlines()[-1])
    assert record["params"]["top_logprobs"] == 0
