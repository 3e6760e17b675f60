"""Draws the PNG icons and the favicon from static/icons/icon.svg: `python -m media.icons`."""

from __future__ import annotations

import struct
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from media.browser import launch
from media.palette import with_palette

FOLDER = Path(__file__).parent.parent / "static" / "icons"
BACKGROUND = "#1d6b59"


def main() -> None:
    svg = (FOLDER / "icon.svg").read_text(encoding="utf-8")
    with sync_playwright() as playwright, launch(playwright) as browser:
        page = browser.new_page()
        for size in (192, 512):
            (FOLDER / f"icon-{size}.png").write_bytes(_draw(page, svg, size))
        maskable = _draw(page, svg, 512, padding=64)
        (FOLDER / "icon-maskable-512.png").write_bytes(maskable)
        (FOLDER / "favicon.ico").write_bytes(_ico(_draw(page, svg, 32), 32))


def _draw(page: Page, svg: str, size: int, padding: int = 0) -> bytes:
    """The picture as PNG; with padding, its background fills the edge (a maskable icon)."""
    back = BACKGROUND if padding else "transparent"
    style = (
        f"<style>body{{margin:0;padding:{padding}px;background:{back}}}svg{{display:block}}</style>"
    )
    page.set_viewport_size({"width": size, "height": size})
    inner = size - 2 * padding
    page.set_content(style + svg.replace("<svg ", f'<svg width="{inner}" height="{inner}" '))
    return with_palette(page.screenshot(omit_background=not padding), colours=12)


def _ico(png: bytes, size: int) -> bytes:
    """One PNG in an icon file: a header of 6 bytes, an entry of 16, the picture."""
    entry = struct.pack("<BBBBHHII", size, size, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


if __name__ == "__main__":
    main()
