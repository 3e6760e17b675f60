"""What the chat page costs a browser: first paint, size, and the work per frame while it streams.

`python -m benchmarks.page` serves a backend that says 100 kB at once and then 500 tokens a second,
as plain text and as a chat model's Markdown, watches Chromium show it, and prints a table; `--json`
prints the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from media.browser import launch
from minivault.backends.base import Finish, ModelInfo, Piece, Request
from minivault.schemas import FinishReason
from tests.live import live_server

BEFORE = 100_000  # characters that are there already
RATE = 500  # tokens a second
SECONDS = 6.0  # of watching
LOADS = 9  # of the page, for the median
AT_REST = 500  # milliseconds after which a new window has drawn itself
BARE = "/static/js/package.json"  # a few words: what a new tab alone costs

_FRAMES = (
    "window.frames_ = 0; (function next() { window.frames_++; requestAnimationFrame(next); })()"
)
_SIZE = (
    "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
    ".reduce((sum, entry) => sum + entry.decodedBodySize, 0)"
)
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class Fast:
    """Says `BEFORE` characters at once, then `RATE` tokens a second until it is stopped."""

    def __init__(self, *, chat: bool) -> None:
        self.info = ModelInfo(name="fast", context_length=1_000_000, chat=chat)

    def render(self, messages: list[dict[str, str]]) -> str:
        return messages[-1]["content"]

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        paragraph = "and so the **fox** went on `through` the wood, " * 10 + "\n\n"
        yield Piece(paragraph * (BEFORE // len(paragraph) + 1))
        clock = asyncio.get_running_loop().time
        start, said = clock(), 0
        while True:
            await asyncio.sleep(0.002)
            while said < (clock() - start) * RATE:
                said += 1
                yield Piece(" token" if said % 60 else " token\n\n")
        yield Finish(FinishReason.STOP)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the chat page in Chromium.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    figures = measure()
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<38}{value:>10.2f}" if isinstance(value, float) else f"{name:<38}{value:>10}")


def measure() -> dict[str, Any]:
    """All figures. Milliseconds unless the name says otherwise."""
    figures: dict[str, Any] = {}
    with sync_playwright() as playwright, launch(playwright) as browser:
        for chat in (False, True):
            with (
                tempfile.TemporaryDirectory() as folder,
                live_server(Path(folder), Fast(chat=chat)) as server,
            ):
                if not chat:
                    figures |= loading(browser, server.url)
                shown = streaming(browser, server.url)
                kind = "Markdown" if chat else "text"
                figures |= {f"{kind}: {name}": value for name, value in shown.items()}
    return figures


def loading(browser: Browser, url: str) -> dict[str, Any]:
    """First paint, as the median of loads with an empty and with a filled cache; bytes loaded.

    Beside it that of a few words from the same server: the browser's own share, which no page gets
    below. Taken in turn, so that both meet the same machine, each in a profile and a window of its
    own that is at rest: a headless Chromium draws windows of its own, by scripts of its own, too.
    """
    page = browser.new_page()
    _first_paint(page, url)
    size = page.evaluate(_SIZE)
    warm = [_first_paint(page, url) for _ in range(LOADS)]
    bare_warm = [_first_paint(page, url + BARE) for _ in range(LOADS)]
    cold, bare = [], []
    for _ in range(LOADS):
        cold.append(_first_paint(_new_window(browser), url))
        bare.append(_first_paint(_new_window(browser), url + BARE))
    return {
        "first paint, nothing cached": median(cold),
        "the same of a few words": median(bare),
        "first paint, cached": median(warm),
        "a few words, cached": median(bare_warm),
        "bytes loaded, unpacked": int(size),
    }


def _new_window(browser: Browser) -> Page:
    page = browser.new_page()
    page.wait_for_timeout(AT_REST)
    return page


def _first_paint(page: Page, url: str) -> float:
    page.goto(url, wait_until="networkidle")
    return float(page.evaluate(_PAINT))


def streaming(browser: Browser, url: str) -> dict[str, Any]:
    """Work per frame while `RATE` tokens a second are added to an answer of `BEFORE` characters."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(url, wait_until="networkidle")
    page.get_by_role("button", name="Controls").click()
    page.fill("[name=max_tokens]", "900000")
    page.get_by_role("button", name="Controls").click()
    page.fill("#prompt", "Tell me")
    page.press("#prompt", "Enter")
    page.locator(".exchange[data-connection=open]").wait_for()
    page.wait_for_timeout(1500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate(_FRAMES)
    before = _metrics(session.send("Performance.getMetrics"))
    start = page.evaluate("[window.frames_, document.querySelector('.text').textContent.length]")
    page.wait_for_timeout(SECONDS * 1000)
    after = _metrics(session.send("Performance.getMetrics"))
    end = page.evaluate("[window.frames_, document.querySelector('.text').textContent.length]")
    frames = end[0] - start[0]
    page.keyboard.press("Escape")
    each = {
        name: 1000 * (after[metric] - before[metric]) / frames
        for name, metric in (
            ("scripting per frame", "ScriptDuration"),
            ("style per frame", "RecalcStyleDuration"),
            ("layout per frame", "LayoutDuration"),
        )
    }
    layouts = (after["LayoutCount"] - before["LayoutCount"]) / frames
    return {
        "frames per second": frames / SECONDS,
        "tokens per second shown": (end[1] - start[1]) / len(" token") / SECONDS,
        "layouts per frame": layouts,
        **each,
    }


def _metrics(answer: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["value"] for each in answer["metrics"]}


if __name__ == "__main__":
    main()
