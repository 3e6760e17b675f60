"""A browser that keeps nothing, or no more; and keys that belong to an input method."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: As a browser does it whose user has blocked the site's data.
FORBIDDEN = """
for (const name of ["localStorage", "sessionStorage", "indexedDB"])
  Object.defineProperty(window, name, {
    get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
  });
window.BroadcastChannel = function () { throw new DOMException("denied", "SecurityError"); };
"""
#: As where the disk is full: a transaction is given up, and nothing more fits beside it.
FULL = """() => {
  IDBObjectStore.prototype.put = function () { this.transaction.abort(); };
  Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
}"""
#: Enter that ends a composition in Safari: the composition is over, the key is the method's.
ENTER_229 = """
area => area.dispatchEvent(new KeyboardEvent("keydown",
  { key: "Enter", code: "Enter", keyCode: 229, bubbles: true, cancelable: true }))
"""
UNKEPT = "does not keep what is new here"


def use(chat: ChatPage) -> None:
    """Everything that keeps something."""
    text = chat.ask("the fox and the crow")
    chat.act("Regenerate")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    chat.wait()
    chat.parameter("max_tokens").fill("7")
    chat.page.locator("#theme").click()
    chat.begin()
    chat.ask("another one")
    chat.page.get_by_role("link", name="the fox").click()
    chat.last.get_by_role("button", name="Earlier answer").click()
    expect(chat.last.locator(".alternatives")).to_contain_text("1 of 2")
    assert chat.said() == text


def test_the_page_works_in_a_browser_that_forbids_site_data(
    new_context: Callable[..., BrowserContext], echo: LiveServer
) -> None:
    context = new_context()
    context.add_init_script(FORBIDDEN)
    chat = ChatPage(context.new_page(), echo.url).open()
    expect(chat.page.locator("#unkept")).to_contain_text(UNKEPT)
    use(chat)
    chat.page.goto(f"{echo.url}/logs")
    expect(chat.page.locator(".record").first).to_be_visible()
    chat.page.goto(f"{echo.url}/docs")
    expect(chat.page.locator(".opblock").first).to_be_visible()


def test_a_browser_that_is_full_says_so_once_and_goes_on(page: Page, echo: LiveServer) -> None:
    chat = ChatPage(page, echo.url).open()
    chat.ask("kept before")
    expect(page.locator("#unkept")).to_be_hidden()
    page.evaluate(FULL)
    chat.begin()
    use(chat)
    expect(page.locator("#unkept")).to_contain_text(UNKEPT)
    expect(page.locator("#conversation-list bdi")).to_have_count(3)
    page.reload()
    expect(page.locator("#conversation-list bdi")).to_have_text(["kept before"])


def test_enter_that_ends_a_composition_sends_nothing(chat: ChatPage) -> None:
    chat.prompt.fill("こんにちは")
    assert chat.prompt.evaluate(ENTER_229) is True  # nobody prevented it
    expect(chat.prompt).to_have_value("こんにちは")
    expect(chat.exchanges).to_have_count(0)
    chat.prompt.press("Enter")
    chat.wait()
    chat.act("Edit")
    editor = chat.last.get_by_role("textbox", name="Text")
    assert editor.evaluate(ENTER_229) is True
    expect(editor).to_be_visible()
    editor.press("Enter")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    chat.do("こんにちは", "Rename")
    title = chat.page.get_by_role("textbox", name="Title")
    assert title.evaluate(ENTER_229) is True
    expect(title).to_be_visible()
