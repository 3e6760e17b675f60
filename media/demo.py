"""Records the page at work as an animated picture for the README: `python -m media.demo`."""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from media.browser import launch
from media.server import storyteller

FILE = Path(__file__).parent.parent / "docs" / "media" / "demo.webp"
SIZE: ViewportSize = {"width": 1000, "height": 640}
FRAMES_PER_SECOND = 8
PROMPT = "The old clockmaker opened the little door and"


class Film:
    """Takes a frame whenever it is told to wait."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._count = 0

    def roll(self, seconds: float) -> None:
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            self._count += 1
            self._page.screenshot(path=self._folder / f"{self._count:04}.png")

    def develop(self, file: Path) -> None:
        """An animated WebP that plays for ever."""
        command = ["ffmpeg", "-v", "error", "-y", "-framerate", str(FRAMES_PER_SECOND)]
        command += ["-i", str(self._folder / "%04d.png"), "-c:v", "libwebp_anim"]
        command += ["-lossless", "0", "-quality", "72", "-loop", "0", str(file)]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the page for the README.")
    parser.add_argument("--file", type=Path, default=FILE)
    file: Path = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        storyteller(Path(folder)) as url,
        sync_playwright() as playwright,
        launch(playwright) as browser,
    ):
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(60_000)
        frames = Path(folder) / "frames"
        frames.mkdir()
        film = Film(page, frames)
        _play(page, url, film)
        film.develop(file)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


def _play(page: Page, url: str, film: Film) -> None:
    """A prompt, its answer, the probabilities, the line in the vault and its replay."""
    page.goto(url)
    expect(page.locator("#model")).to_have_attribute("data-status", "ready")
    page.locator("#parameters [name=max_tokens]").evaluate(
        "field => { field.value = 70; field.dispatchEvent(new Event('input')); }"
    )
    film.roll(0.8)
    _type(page, film, PROMPT)
    page.press("#prompt", "Enter")
    _until_done(page, film)
    film.roll(1.2)
    page.get_by_role("button", name="Controls").click()
    page.get_by_label("Show probabilities").check()
    film.roll(0.8)
    page.get_by_role("button", name="Controls").click()
    page.get_by_role("button", name="Retry").click()
    _until_done(page, film)
    page.locator(".token.p0, .token.p1").filter(has_text=re.compile(r"\w{3}")).first.hover()
    film.roll(1.8)
    page.locator(".receipt").click()
    expect(page.locator("#replay")).to_be_visible()
    film.roll(1.0)
    page.locator("#replay").click()
    expect(page.locator(".replay")).to_contain_text("same")
    page.locator("#verify").click()
    expect(page.locator("#chain-state")).to_contain_text("Whole")
    film.roll(2.5)


def _type(page: Page, film: Film, text: str) -> None:
    page.focus("#prompt")
    for start in range(0, len(text), 4):
        page.keyboard.insert_text(text[start : start + 4])
        film.roll(1 / FRAMES_PER_SECOND)


def _until_done(page: Page, film: Film) -> None:
    last = page.locator(".exchange").last
    last.wait_for()
    while last.get_attribute("data-state") == "open":
        film.roll(1 / FRAMES_PER_SECOND)


if __name__ == "__main__":
    main()
