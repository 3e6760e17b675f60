"""The Chromium that draws and that the tests drive."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """The path of an installed Chromium, None if there is none."""
    names = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """A headless browser. Raises FileNotFoundError with what to install."""
    path = chromium()
    if path is None or not Path(path).exists():
        raise FileNotFoundError("there is no Chromium here; install it (apt install chromium)")
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
