"""What axe-core finds wrong with a page, for those who do not see it or use no mouse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def assert_accessible(page: Page, *, besides: Sequence[str] = (), themes: bool = True) -> None:
    """Whether nothing is wrong `besides` these rules, which others' markup breaks.

    All rules in the light theme, and in the dark one what depends on it: the page is left light.
    Without `themes` in the one that it has.
    """
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    left_out = {each: {"enabled": False} for each in besides}
    everything = {"runOnly": {"type": "tag", "values": RULES}, "rules": left_out}
    found = []
    if themes:
        page.emulate_media(color_scheme="dark")
        found = _violations(page, {"runOnly": ["color-contrast"]})
        page.emulate_media(color_scheme="light")
    found += _violations(page, everything)
    assert not found, found


def _violations(page: Page, options: dict[str, Any]) -> list[Any]:
    _wait_for_transitions(page)
    found: list[Any] = page.evaluate(
        "options => axe.run(options).then(r =>"
        "r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html.slice(0, 200))]))",
        options,
    )
    return found


def _wait_for_transitions(page: Page) -> None:
    """Half a transition has colours of its own. What goes on for ever, as the caret, may.

    A frame first: whoever listens to a change of the theme has heard of it then.
    """
    page.evaluate(
        "() => new Promise(requestAnimationFrame).then(() => Promise.all(document.getAnimations()"
        ".filter(each => each.effect.getComputedTiming().endTime !== Infinity)"
        ".map(each => each.finished.catch(() => {}))))"
    )
