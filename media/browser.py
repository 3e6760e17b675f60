"""The Chromium that draws and that the tests drive."""

from __future__ import annotations

import shutil

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
LAUNCH_TIMEOUT = 120_000  # milliseconds


HEADLESS = "chromium-headless-shell"
"""Chromium without windows, which Playwright drives by default: at half the processor time."""


def chromium(*first: str) -> str | None:
    """The path of an installed Chromium, by the names of those to look for first; None without."""
    names = (*first, "/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome", HEADLESS)
    return next((path for name in names if (path := shutil.which(name))), None)


def launch(playwright: Playwright, *first: str) -> Browser:
    """A headless browser; `first` as above. Raises FileNotFoundError with what to install."""
    path = chromium(*first)
    if path is None:
        raise FileNotFoundError("there is no Chromium here; install it (apt install chromium)")
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=LAUNCH_TIMEOUT)
