"""What axe-core finds wrong with a page, for those who do not see it or use no mouse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def assert_accessible(page: Page, *, besides: Sequence[str] = ()) -> None:
    """Whether nothing is wrong `besides` these rules, which others' markup breaks."""
    _wait_for_transitions(page)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "([tags, besides]) => axe.run({runOnly: {type: 'tag', values: tags},"
        "rules: Object.fromEntries(besides.map(each => [each, {enabled: false}]))})"
        ".then(r => r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html.slice(0, 200))]))",
        [RULES, list(besides)],
    )
    assert found == []


def _wait_for_transitions(page: Page) -> None:
    """Half a transition has colours of its own. What goes on for ever, as the caret, may."""
    page.evaluate(
        "() => Promise.all(document.getAnimations()"
        ".filter(each => each.effect.getComputedTiming().endTime !== Infinity)"
        ".map(each => each.finished.catch(() => {})))"
    )
