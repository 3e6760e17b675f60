"""Takes the pictures of the README from a running page: `python -m media.screenshots`.

The storyteller serves, and a chat model. `--all` takes every view, light and dark, wide and narrow.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from media.browser import launch
from media.palette import with_palette
from media.server import serving

FOLDER = Path(__file__).parent.parent / "docs" / "media"
SIZES = {"wide": (1360, 850), "narrow": (390, 844)}
SHOWN = (
    "chat-wide-light",
    "chat-wide-dark",
    "answer-wide-light",
    "answer-wide-dark",
    "vault-wide-light",
    "chat-narrow-dark",
)
SEED = "10"
BEGINNING = "The old clockmaker opened the little door and"
QUESTIONS = (
    "Show how to read a text file in Python, in a few lines, and explain each step in a list.",
    "Give three tips for a good night's sleep, as a Markdown list with bold words.",
)
OTHERS = (
    "Once upon a time, in a house by the sea, there lived an old fox",
    "When the snow had melted, the children found",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the README.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--all", action="store_true", help="every view, size and colour scheme")
    arguments = parser.parse_args()
    album = Album(arguments.folder, None if arguments.all else SHOWN)
    with (
        tempfile.TemporaryDirectory() as logs,
        serving("storyteller", Path(logs)) as url,
        serving("smollm2", Path(logs)) as chats,
        sync_playwright() as playwright,
        launch(playwright) as browser,
    ):
        for size in SIZES:
            for scheme in ("light", "dark"):
                _take(browser, url, album, size, scheme)
                _take_chat(browser, chats, album, size, scheme)


class Album:
    """Keeps the pictures that are wanted; `wanted` None means all."""

    def __init__(self, folder: Path, wanted: tuple[str, ...] | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._wanted = wanted

    def add(self, page: Page, name: str) -> None:
        if self._wanted and name not in self._wanted:
            return
        page.wait_for_timeout(300)  # transitions
        path = self._folder / f"{name}.png"
        path.write_bytes(with_palette(page.screenshot(), colours=200))
        print(path)


def _take(browser: Browser, url: str, album: Album, size: str, scheme: str) -> None:
    page = _opened(browser, url, size, scheme)
    album.add(page, f"start-{size}-{scheme}")
    _converse(page)
    album.add(page, f"chat-{size}-{scheme}")
    _show_probabilities(page, narrow=size == "narrow")
    album.add(page, f"probabilities-{size}-{scheme}")
    page.goto(f"{url}/logs")
    page.get_by_role("button", name="Verify").click()
    expect(page.locator("#chain-state")).to_contain_text("Whole", timeout=60_000)
    page.locator(".record").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".replay")).to_contain_text("same", timeout=60_000)
    album.add(page, f"vault-{size}-{scheme}")
    page.context.close()


def _take_chat(browser: Browser, url: str, album: Album, size: str, scheme: str) -> None:
    page = _opened(browser, url, size, scheme)
    _set(page, "seed", "1")
    _set(page, "temperature", "0.6")
    for question in QUESTIONS:
        _ask(page, question)
    album.add(page, f"answer-{size}-{scheme}")
    page.goto(f"{url}/logs")
    page.locator(".record").first.click()
    expect(page.locator("#detail .said").first).to_be_visible()
    album.add(page, f"conversation-{size}-{scheme}")
    page.context.close()


def _opened(browser: Browser, url: str, size: str, scheme: str) -> Page:
    """The chat page, with a model that is ready, in a browser of its own."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=1.5 if size == "wide" else 2,
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#model")).to_have_attribute("data-status", "ready", timeout=60_000)
    return page


def _converse(page: Page) -> None:
    for prompt in (*OTHERS, BEGINNING):
        page.evaluate("location.hash = 'new'")
        expect(page.locator(".exchange")).to_have_count(0)
        _set(page, "seed", SEED)
        _set(page, "max_tokens", "80")
        _ask(page, prompt)
    page.locator(".exchange").last.get_by_role("button", name="Continue").click()
    expect(page.locator(".exchange")).to_have_count(2)
    _ended(page)


def _show_probabilities(page: Page, *, narrow: bool) -> None:
    page.get_by_role("button", name="Controls").click()
    page.get_by_label("Show probabilities").check()
    if narrow:
        page.keyboard.press("Escape")
    page.evaluate("location.hash = 'new'")
    expect(page.locator(".exchange")).to_have_count(0)
    _ask(page, BEGINNING)
    page.locator(".token").nth(6).hover()
    expect(page.locator("#token-card")).to_be_visible()


def _set(page: Page, name: str, value: str) -> None:
    """Also where the controls are hidden, as on a narrow screen."""
    field = page.locator(f"#parameters [name={name}]")
    field.evaluate(
        "(field, value) => { field.value = value; field.dispatchEvent(new Event('input')); }", value
    )


def _ask(page: Page, prompt: str) -> None:
    before = page.locator(".exchange").count()
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")
    expect(page.locator(".exchange")).to_have_count(before + 1)
    _ended(page)


def _ended(page: Page) -> None:
    expect(page.locator(".exchange").last).to_have_attribute("data-state", "done", timeout=60_000)


if __name__ == "__main__":
    main()
