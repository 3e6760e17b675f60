"""What makes the page good for everybody: accessible, narrow and wide, quick, small, safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, expect

from minivault.resources import resource
from tests.browser.axe import assert_accessible
from tests.browser.backends import Says
from tests.browser.chat_page import ENDLESS, ChatPage
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REQUESTS = 10
BUDGET = 150_000  # bytes of everything a page loads, unpacked
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</span></div><script>document.title='taken'</script>",
    "javascript:alert(1) ",
    "\u202egnp.exe\u2066 ",
    "<svg onload=alert(1)>{{7*7}}${7*7}",
    "\x00\x1b[31m\ufeff\U000e0041",
]
#: A page that is seen waits for its first paint, however long that takes; and so does a test.
PAINTED = """
{
  const later = window.setTimeout;
  window.setTimeout = (what, ms, ...more) => later(what, ms === 250 ? 60000 : ms, ...more);
}
window.painted = new Promise(done => new PerformanceObserver(list =>
  list.getEntriesByName("first-contentful-paint").length && done(true))
  .observe({ type: "paint", buffered: true }));
"""
SIZES = {"narrow": (320, 640), "tablet": (820, 1100), "wide": (1440, 900), "ultra": (3440, 1440)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("quality")) as server:
        yield server


def assert_fits(page: Page) -> None:
    """Nothing sticks out to the side."""
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
    outside = page.evaluate(
        "[...document.querySelectorAll('button, a, input, textarea, h1, .block')]"
        ".filter(e => e.checkVisibility() && !e.closest('.unseen, .skip'))"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert outside == []


@pytest.mark.parametrize("size", ["narrow", "wide"])
def test_axe_finds_nothing_on_the_chat_page(
    new_context: Callable[..., BrowserContext], server: LiveServer, size: str
) -> None:
    width, height = SIZES[size]
    page = new_context(viewport={"width": width, "height": height}).new_page()
    chat = ChatPage(page, server.url).open()
    assert_accessible(page)
    if size == "narrow":
        page.get_by_role("button", name="Controls").click()
        assert_accessible(page)
    page.get_by_label("Show probabilities").check()
    if size == "narrow":
        page.keyboard.press("Escape")
    chat.ask("some words and some more words")
    chat.act("Regenerate")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    chat.wait()
    chat.last.locator(".token").nth(3).hover()
    assert_accessible(page)
    page.keyboard.press("Control+/")
    assert_accessible(page)
    page.keyboard.press("Escape")
    chat.act("Edit")
    assert_accessible(page)
    page.keyboard.press("Escape")
    page.locator("#model").click()
    assert_accessible(page)
    page.keyboard.press("Escape")
    if size == "narrow":
        page.get_by_role("button", name="Conversations", exact=True).click()
    page.get_by_role("button", name="More for some words").click()
    assert_accessible(page)
    page.get_by_role("menuitem", name="Pin").click()
    chat.do("some words", "Delete")
    expect(page.locator("#announcement")).to_contain_text("Undo")
    assert_accessible(page)


@pytest.mark.parametrize("size", ["narrow", "wide"])
def test_axe_finds_nothing_in_the_log_viewer(
    new_context: Callable[..., BrowserContext], server: LiveServer, size: str
) -> None:
    width, height = SIZES[size]
    page = new_context(viewport={"width": width, "height": height}).new_page()
    ChatPage(page, server.url).open().ask("a line for the log")
    page.goto(f"{server.url}/logs")
    expect(page.locator(".record").first).to_be_in_viewport(ratio=0.9)
    page.locator(".record").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".replay")).to_contain_text("byte for byte")
    assert_accessible(page)
    page.get_by_label("Search prompts").fill("no such words")
    expect(page.locator("#nothing")).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize("path", ["/login", "/static/check.html", "/no-such-page"])
def test_axe_finds_nothing_on_the_small_pages(page: Page, server: LiveServer, path: str) -> None:
    page.goto(f"{server.url}{path}")
    assert_accessible(page)
    page.set_viewport_size({"width": 320, "height": 640})
    assert_fits(page)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_sticks_out_at_any_width(
    new_context: Callable[..., BrowserContext], tmp_path: Path, size: str
) -> None:
    width, height = SIZES[size]
    words = [
        "unbroken" * 60,
        " https://example.org/" + "a" * 300,
        " 漢字" * 80,
        "\n" + "שלום " * 60,
    ]
    with live_server(tmp_path, Says(words)) as server:
        page = new_context(viewport={"width": width, "height": height}).new_page()
        chat = ChatPage(page, server.url).open()
        assert_fits(page)
        chat.ask("W" * 200)
        assert_fits(page)
        page.goto(f"{server.url}/logs#1")
        expect(page.get_by_role("heading", name="Line 1")).to_be_visible()
        assert_fits(page)


def test_right_to_left_text_is_written_from_the_right(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Says(["שלום עולם", "\nplain words"])) as server:
        chat = ChatPage(page, server.url).open()
        chat.ask("היה היה פעם")
        edge = "getComputedStyle(document.querySelector('.block')).unicodeBidi"
        assert page.evaluate(edge) == "plaintext"
        right = page.evaluate(
            "(() => { const r = document.createRange(); r.selectNodeContents("
            "document.querySelector('.prompt')); const b = r.getBoundingClientRect();"
            "const box = document.querySelector('.block').getBoundingClientRect();"
            "return box.right - b.right; })()"
        )
        assert right < 5


def test_hostile_output_stays_text(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Says(HOSTILE)) as server:
        chat = ChatPage(page, server.url).open()
        alerts: list[str] = []

        def dismiss(dialog: Dialog) -> None:
            alerts.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        assert chat.ask("<script>alert(1)</script>") == "".join(HOSTILE)
        assert "taken" not in page.title()
        assert page.locator(".text img, .text script, .text svg").count() == 0
        assert chat.violations() == []
        page.goto(f"{server.url}/logs#1")
        expect(page.get_by_role("heading", name="Line 1")).to_be_visible()
        expect(page.locator("#detail .response, #detail .body").last).to_contain_text("<img")
        expect(page.locator("#detail .hidden-character").first).to_be_visible()
        assert page.locator("#list img, #detail img, #detail script").count() == 0
        assert chat.violations() == []
        assert alerts == []


def test_reduced_motion_stills_the_caret(
    new_context: Callable[..., BrowserContext], slow: LiveServer
) -> None:
    page = new_context(reduced_motion="reduce").new_page()
    chat = ChatPage(page, slow.url).open()
    chat.parameter("max_tokens").fill(ENDLESS)
    chat.send("some words")
    chat.wait_for_text(5)
    caret = "const caret = getComputedStyle(document.querySelector('.said'), '::after');"
    assert page.evaluate(f"() => {{ {caret} return [caret.content, caret.animationName]; }}") == [
        '""',
        "none",
    ]
    page.keyboard.press("Escape")
    chat.wait("stopped")


def test_everything_can_be_reached_by_the_keyboard(chat: ChatPage) -> None:
    chat.ask("some words")
    chat.page.locator("body").evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        chat.page.keyboard.press("Tab")
        name = chat.page.evaluate(
            "(document.activeElement.getAttribute('aria-label') || document.activeElement.id"
            " || document.activeElement.textContent).trim()"
        )
        reached.add(name)
    wanted = {"Conversations", "new", "Search conversations", "Conversation", "Copy", "Continue"}
    wanted |= {"Retry", "Regenerate", "Edit", "Prompt", "send", "Controls", "balanced", "Theme"}
    missing = {each for each in wanted if not any(each in name for name in reached)}
    assert missing == set()


def test_a_conversation_goes_on_paper_as_a_whole(chat: ChatPage) -> None:
    """With its receipts and what else is known of each answer, and nothing that can be pressed."""
    for number in range(6):
        chat.ask(f"question {number} " + "and more words " * 60)
    chat.page.emulate_media(media="print")
    for part in (".bar", "#composer", ".actions", ".panel", "#to-end"):
        expect(chat.page.locator(part).first).to_be_hidden()
    for each in chat.exchanges.all():
        expect(each.locator(".receipt")).to_be_visible()
        expect(each.get_by_text("seed ")).to_be_visible()
    whole = "e => e.scrollHeight <= e.clientHeight + 1 && getComputedStyle(e).overflowY"
    assert chat.page.locator("#transcript").evaluate(whole) == "visible"
    pages = chat.page.pdf().count(b"/Type /Page\n")
    assert pages > 1


def test_who_reads_far_above_gets_to_the_end_by_a_button(chat: ChatPage) -> None:
    for number in range(4):
        chat.ask(f"question {number} " + "and more words " * 90)
    button = chat.page.get_by_role("button", name="To the end")
    expect(button).to_be_hidden()
    chat.page.locator("#transcript").evaluate("e => e.scrollTo(0, -e.scrollHeight)")
    button.click()
    expect(chat.last.locator(".facts")).to_be_in_viewport()
    expect(button).to_be_hidden()


def test_the_theme_is_kept(chat: ChatPage) -> None:
    ground = "getComputedStyle(document.body.parentElement).backgroundColor"
    button = chat.page.locator("#theme")
    before = chat.page.evaluate(ground)
    button.click()
    light = chat.page.evaluate(ground)
    assert light != before  # the first press already shows something
    button.click()
    dark = chat.page.evaluate(ground)
    assert light != dark
    chat.page.reload()
    assert chat.page.evaluate(ground) == dark


def test_it_can_be_installed(chat: ChatPage) -> None:
    manifest = chat.page.evaluate(
        "fetch(document.querySelector('link[rel=manifest]').href).then(r => r.json())"
    )
    assert manifest["display"] == "standalone"
    for each in manifest["icons"]:
        size = chat.page.evaluate(
            "src => new Promise((ok, no) => { const i = new Image(); i.onload = () => ok(i.width);"
            "i.onerror = no; i.src = src; })",
            each["src"],
        )
        assert size > 0
    assert chat.page.evaluate("fetch('favicon.ico').then(r => r.status)") == 200


@pytest.mark.parametrize("size", [(375, 600), (844, 390), (1280, 800)])
def test_a_first_visit_is_calm(
    new_context: Callable[..., BrowserContext], server: LiveServer, size: tuple[int, int]
) -> None:
    """The heading is there, nothing jumps, and it is said what becomes of what one writes."""
    page = new_context(viewport={"width": size[0], "height": size[1]}).new_page()
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries()"
        ".forEach(each => (window.shift += each.value)))"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page.goto(server.url)
    expect(page.locator("#library li").first).to_be_visible()
    expect(page.get_by_role("heading", name="What shall it write?")).to_be_in_viewport(ratio=1)
    expect(page.locator("#welcome")).to_contain_text("Everything stays on this machine.")
    expect(page.get_by_label("Continue the text above")).to_be_hidden()
    expect(page.locator("#gauge")).to_be_hidden()
    expect(page.locator("#parameters")).to_be_hidden()
    expect(page.locator("#model")).to_have_attribute("data-status", "ready")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
    assert page.evaluate("window.shift") < 0.02


@pytest.mark.parametrize("path", ["/", "/logs"])
def test_a_page_is_small_with_everything_it_loads(
    page: Page, server: LiveServer, path: str
) -> None:
    page.add_init_script(PAINTED)
    page.goto(f"{server.url}{path}", wait_until="networkidle")
    page.evaluate("window.painted")
    loaded = page.evaluate(
        "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
        ".map(entry => [entry.startTime, entry.decodedBodySize, entry.name])"
    )
    assert len(loaded) >= 5
    assert sum(size for _, size, _ in loaded) < BUDGET
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    before = [name for begin, _, name in loaded if begin < painted]
    assert len(before) <= REQUESTS
    assert not [name for name in before if name.endswith(("chat.js", "logs.js"))]


def test_a_page_that_is_never_painted_works(page: Page, server: LiveServer) -> None:
    """As in a tab that was opened in the background."""
    page.add_init_script("PerformanceObserver.prototype.observe = () => {};")
    ChatPage(page, server.url).open().ask("some words")


def test_no_markup_is_parsed_and_nothing_is_inline() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    )
    for path in resource("static").joinpath("js").rglob("*.js"):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path
    for path in resource("templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), path


def test_modules_import_in_one_direction() -> None:
    folder = resource("static/js")
    for path in folder.rglob("*.js"):
        for name in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8")):
            target = (path.parent / name).resolve().relative_to(folder.resolve())
            if path.parent.name == "shared":
                assert target.parts[0] == "shared", path
            else:
                assert target.parts[0] in ("shared", path.parent.name), path


def test_files_are_short() -> None:
    for path in resource("static").joinpath("js").rglob("*.js"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
