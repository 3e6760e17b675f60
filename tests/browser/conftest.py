"""A real Chromium, and pages that must not complain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from media.browser import HEADLESS, chromium, launch
from minivault.backends.echo import EchoBackend
from tests.browser.chat_page import ENDLESS, TIMEOUT, ChatPage
from tests.live import LiveServer, live_server
from tests.tools import leave_out

WATCH = """
window.policyViolations = [];
addEventListener("securitypolicyviolation", (e) =>
  window.policyViolations.push([e.violatedDirective, e.blockedURI, e.sample]));
"""
# What goes away or gives up by itself after some seconds stays for a minute: a test may look late.
LASTING = """
{
  const later = window.setTimeout;
  window.setTimeout = (what, ms, ...more) =>
    later(what, ms >= 3000 && ms <= 12000 ? 60000 : ms, ...more);
}
"""
NETWORK = ("Failed to load resource", "net::ERR")  # tests that cut connections cause them


# For this folder only: while it is open no other event loop can run in this thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        leave_out("Chromium is not installed")
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright, launch(playwright, HEADLESS) as browser:
        yield browser


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser profiles. At the end every page of theirs must be clean."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(**options: object) -> BrowserContext:
        options = {"viewport": {"width": 1280, "height": 800}, "accept_downloads": True} | options
        context = browser.new_context(**options)  # type: ignore[arg-type]  # passed through
        context.set_default_timeout(TIMEOUT)
        context.add_init_script(WATCH)
        context.add_init_script(LASTING)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: _complain(message, complaints))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def _complain(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in ("error", "warning") and not message.text.startswith(NETWORK):
        complaints.append(message.text)


@pytest.fixture
def page(new_context: Callable[..., BrowserContext]) -> Page:
    return new_context().new_page()


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that answers at once."""
    with live_server(tmp_path_factory.mktemp("echo")) as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that says fifty words a second, for hours."""
    endless = EchoBackend(delay=0.02, context_length=10**6)
    with live_server(tmp_path_factory.mktemp("slow"), endless) as server:
        yield server


@pytest.fixture
def chat(page: Page, echo: LiveServer) -> ChatPage:
    return ChatPage(page, echo.url).open()


@pytest.fixture
def slow_chat(page: Page, slow: LiveServer) -> ChatPage:
    """An answer ends only when it is stopped."""
    chat = ChatPage(page, slow.url).open()
    chat.parameter("max_tokens").fill(ENDLESS)
    return chat
