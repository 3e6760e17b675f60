"""A film of a page and a terminal: a stage with both, of which frames are taken."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, Page, ViewportSize

from media.terminal import Terminal

PAGE: ViewportSize = {"width": 1100, "height": 640}
COLUMNS = 116
_LINES = 6
_FRAME = 100  # milliseconds
_QUALITY = 75

_STAGE = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; width: 1100px; background: #101414; color: #e8ebe8; }
p { margin: 0; padding: 0 20px; font: 600 18px/44px "Noto Sans", "DejaVu Sans", sans-serif; }
img { display: block; width: 1100px; height: 640px; }
pre { box-sizing: border-box; margin: 0; height: 140px; padding: 10px 20px; }
pre { font: 14px/20px "DejaVu Sans Mono", monospace; white-space: pre-wrap; }
</style><p>&nbsp;</p><img alt=""><pre></pre>"""


class Film:
    """Takes a frame whenever it is told to wait; while nothing moves, one that lasts."""

    def __init__(self, context: BrowserContext, page: Page, terminal: Terminal) -> None:
        self._page = page
        self._terminal = terminal
        self._stage = context.new_page()
        self._stage.set_viewport_size({"width": 1100, "height": 824})
        self._stage.set_content(_STAGE)
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []
        page.bring_to_front()

    @property
    def seconds(self) -> float:
        return sum(self._durations) / 1000

    def caption(self, text: str) -> None:
        self._stage.locator("p").evaluate("(p, text) => { p.textContent = text; }", text)

    def roll(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000 / _FRAME)):
            self.frame()

    def frame(self, milliseconds: int = _FRAME) -> None:
        picture = self._taken()
        if self._frames and picture.tobytes() == self._frames[-1].tobytes():
            self._durations[-1] += milliseconds
        else:
            self._frames.append(picture)
            self._durations.append(milliseconds)

    def develop(self, file: Path) -> None:
        """An animated WebP that plays for ever."""
        first, *rest = self._frames
        first.save(
            file,
            save_all=True,
            append_images=rest,
            duration=self._durations,
            loop=0,
            quality=_QUALITY,
            method=4,
            minimize_size=True,
        )

    def _taken(self) -> Image.Image:
        shown = base64.b64encode(self._page.screenshot(caret="initial")).decode()
        lines = "\n".join(self._terminal.said.splitlines()[-_LINES:])
        self._stage.evaluate(
            """async ([shown, lines]) => {
              const picture = document.querySelector('img');
              picture.src = 'data:image/png;base64,' + shown;
              document.querySelector('pre').textContent = lines;
              await picture.decode();
            }""",
            [shown, lines],
        )
        return Image.open(io.BytesIO(self._stage.screenshot())).convert("RGB")
