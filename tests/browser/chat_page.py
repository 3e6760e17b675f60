"""The chat page as a test sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

TIMEOUT = 60_000  # milliseconds; generous, for machines that do much else
ENDLESS = "900000"  # tokens


class ChatPage:
    """Finds what is on the page by role and name, as its users do."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self, fragment: str = "", *, formatted: bool = False) -> ChatPage:
        """Goes there and waits until the model is ready and the page has put itself together.

        What a chat model says is shown as it came, so that it can be compared, or `formatted`.
        """
        self.page.goto(f"{self.url}/{fragment}")
        expect(self.page.locator("#model")).to_have_attribute("data-status", "ready")
        expect(self.page.locator("#library li").first).to_be_attached()
        panels = "innerWidth > 1020 && document.documentElement.dataset.controls"
        if self.page.evaluate(panels) == "closed":
            self.page.get_by_role("button", name="Controls").click()
            self.prompt.focus()
        if not formatted and self.page.locator("#formatted").is_visible():
            self.page.locator("#formatted").uncheck()
        return self

    @property
    def prompt(self) -> Locator:
        return self.page.locator("#prompt")

    @property
    def exchanges(self) -> Locator:
        return self.page.locator(".exchange")

    @property
    def last(self) -> Locator:
        return self.exchanges.last

    @property
    def stop_button(self) -> Locator:
        return self.page.get_by_role("button", name="Stop", exact=True)

    def begin(self) -> None:
        """A new conversation, once it is shown."""
        self.page.get_by_role("button", name="New conversation").click()
        expect(self.exchanges).to_have_count(0)

    def send(self, text: str) -> None:
        self.prompt.fill(text)
        self.prompt.press("Enter")

    def ask(self, text: str) -> str:
        """Sends a prompt and returns the whole answer."""
        before = self.exchanges.count()
        self.send(text)
        expect(self.exchanges).to_have_count(before + 1)
        self.wait()
        return self.said()

    def wait(self, state: str = "done") -> None:
        """Until the last answer has ended, and so."""
        expect(self.last).to_have_attribute("data-state", state, timeout=TIMEOUT)

    def wait_for_text(self, length: int = 1) -> None:
        """Until that many characters of the last answer are there."""
        expect(self.exchanges.last.locator(".said").last).not_to_be_empty()
        self.until(lambda: len(self.said()) >= length)

    def until(self, condition: Callable[[], bool]) -> None:
        """Playwright's own waiting for a function needs eval, which the page's policy forbids."""
        end = time.monotonic() + TIMEOUT / 1000
        while not condition():
            assert time.monotonic() < end, "waited too long"
            self.page.wait_for_timeout(20)

    def said(self, index: int = -1) -> str:
        """The text of an answer exactly as it stands in the page."""
        text: str = self.page.evaluate(
            "i => [...[...document.querySelectorAll('.exchange')].at(i).querySelectorAll('.said')]"
            ".map(e => e.textContent).join('')",
            index,
        )
        return text

    def act(self, name: str) -> None:
        """Presses a button of the last exchange."""
        self.last.get_by_role("button", name=name, exact=True).click()

    def do(self, title: str, name: str) -> None:
        """Chooses from the menu of a conversation."""
        self.page.get_by_role("button", name=f"More for {title}").click()
        self.page.get_by_role("menuitem", name=name).click()

    def seed(self) -> int:
        """The seed that the last answer shows."""
        text = self.last.locator(".facts").text_content() or ""
        return int(text.split("seed ")[1].split()[0])

    def receipt(self) -> int:
        """The log line that the last answer links to."""
        address = self.last.locator(".receipt").get_attribute("href") or ""
        return int(address.split("#")[1])

    def parameter(self, name: str) -> Locator:
        return self.page.locator(f"#parameters [name={name}]")

    def violations(self) -> list[Any]:
        """What the Content-Security-Policy has refused so far."""
        found: list[Any] = self.page.evaluate("window.policyViolations")
        return found


def hits(page: Page, name: str) -> list[str]:
    """What is marked as found."""
    code = "name => [...CSS.highlights.get(name)].map(range => range.toString())"
    found: list[str] = page.evaluate(code, name)
    return found
