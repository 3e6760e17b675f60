"""The log viewer: a million lines at hand, searched, verified, replayed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.backends import Forgetful
from tests.browser.chat_page import ChatPage
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 1_000_000  # more rows than a box can be high: 52 pixels each


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("logs")) as server:
        for number in range(150):
            ask(server, f"letter {number} about {'marmalade' if number % 50 == 7 else 'weather'}")
        yield server


def ask(server: LiveServer, prompt: str) -> None:
    body = json.dumps({"prompt": prompt, "max_tokens": 5, "seed": 1}).encode()
    with urlopen(f"{server.url}/generate", body) as answer:
        answer.read()


@pytest.fixture
def logs(page: Page, server: LiveServer) -> Page:
    page.goto(f"{server.url}/logs")
    expect(page.locator(".record").first).to_be_visible()
    expect(page.locator("#found")).to_contain_text("line")
    return page


def test_the_newest_line_comes_first_and_scrolling_never_ends_early(logs: Page) -> None:
    expect(logs.locator(".record .seq").first).to_have_text("150")
    logs.locator("#list").focus()
    logs.keyboard.press("End")
    expect(logs.locator(".record[aria-selected=true] .seq")).to_have_text("1")
    expect(logs.locator(".record[aria-selected=true]")).to_be_in_viewport()
    assert logs.locator(".record").count() < 60


def test_search_and_filters_find_what_they_should(logs: Page) -> None:
    logs.get_by_label("Search prompts").fill("MARMALADE")
    expect(logs.locator("#found")).to_have_text("3 found")
    expect(logs.locator(".record .seq")).to_have_text(["108", "58", "8"])
    logs.get_by_label("Finish reason").select_option("stop")
    expect(logs.locator("#found")).to_have_text("0 found")
    logs.get_by_role("button", name="Clear").click()
    expect(logs.locator("#found")).to_have_text("150 lines")


def test_a_line_shows_every_field(logs: Page, server: LiveServer) -> None:
    logs.locator(".record").first.click()
    detail = logs.get_by_role("region", name="Record")
    expect(detail.get_by_role("heading", name="Line 150")).to_be_visible()
    line = server.log.read_text().splitlines()[149]
    for name in json.loads(line):
        if name not in ("timestamp", "prompt", "response"):
            label = name.replace("_", " ").capitalize()
            expect(detail.locator("dt", has_text=label).first).to_be_visible()
    expect(detail).to_contain_text(hashlib.sha256(line.encode()).hexdigest())
    logs.keyboard.press("Escape")
    expect(detail).to_be_hidden()


def test_a_press_counts_though_the_rows_are_drawn_anew_under_it(logs: Page) -> None:
    """As they are whenever a line comes: press and release are not on the same element."""
    box = logs.locator("#list").bounding_box()
    assert box
    logs.mouse.move(box["x"] + 20, box["y"] + 130)  # in the third row
    logs.mouse.down()
    logs.evaluate(
        "() => new Promise(done => {"
        " document.querySelector('#list').dispatchEvent(new Event('scroll'));"
        " requestAnimationFrame(() => requestAnimationFrame(done)); })"
    )
    logs.mouse.up()
    expect(logs.locator(".record[aria-selected=true] .seq")).to_have_text("148")
    expect(logs.locator("#detail")).to_contain_text("letter 147")


def test_a_receipt_leads_to_its_line(page: Page, server: LiveServer) -> None:
    chat = ChatPage(page, server.url).open()
    chat.parameter("max_tokens").fill("5")
    chat.ask("where am I written")
    seq = chat.receipt()
    chat.last.locator(".receipt").click()
    expect(page.get_by_role("heading", name=f"Line {seq}")).to_be_visible()
    expect(page.locator(".record[aria-selected=true] .seq")).to_have_text(str(seq))
    expect(page.locator("#detail")).to_contain_text("where am I written")


def test_the_chain_is_verified_and_says_so_to_the_next_visitor(logs: Page) -> None:
    logs.get_by_role("button", name="Verify").click()
    expect(logs.locator("#chain-state")).to_contain_text("nothing changed, nothing missing")
    logs.reload()
    expect(logs.locator("#chain-state")).to_contain_text("nothing changed")


def test_a_changed_line_is_named(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        for prompt in ("one", "two", "three", "four"):
            ask(server, prompt)
        text = server.log.read_text()
        server.log.write_text(text.replace('"prompt":"two"', '"prompt":"TWO"'))
        page.goto(f"{server.url}/logs")
        page.get_by_role("button", name="Verify").click()
        expect(page.locator("#chain-state")).to_contain_text("Broken in log.jsonl, line 2")
        server.log.write_text(text)


def test_a_replay_that_is_the_same_says_so(logs: Page) -> None:
    logs.locator(".record").first.click()
    logs.get_by_role("button", name="Replay").click()
    expect(logs.locator(".replay")).to_contain_text("The same, byte for byte")


def test_a_replay_that_differs_shows_each_character(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Forgetful()) as server:
        ask(server, "what did you see")
        page.goto(f"{server.url}/logs#1")
        page.get_by_role("button", name="Replay").click()
        expect(page.locator(".replay del")).to_have_text("1")
        expect(page.locator(".replay ins")).to_have_text("2")
        expect(page.locator(".replay")).to_contain_text("differs at character 17")


def test_the_log_is_downloaded_as_it_stands(logs: Page, server: LiveServer) -> None:
    with logs.expect_download() as download:
        logs.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == server.log.read_bytes()


def test_the_picture_counts_what_is_in_the_log(logs: Page, server: LiveServer) -> None:
    lines = len(server.log.read_text().splitlines())
    expect(logs.locator("#history-caption")).to_contain_text(f"{lines} requests")
    expect(logs.locator("#history-chart svg[role=img]")).to_be_visible()
    assert logs.locator("#history-chart rect").count() > 0
    expect(logs.locator("#history-legend")).to_contain_text("length")


def test_new_lines_appear_by_themselves(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        ask(server, "the first")
        page.goto(f"{server.url}/logs")
        expect(page.locator(".record .seq").first).to_have_text("1")
        ask(server, "the second")
        expect(page.locator(".record .seq").first).to_have_text("2")


def test_a_log_longer_than_any_box_is_scrolled_to_any_place(
    new_context: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    write_log(tmp_path / "logs", MANY)
    with live_server(tmp_path) as server:
        page = new_context().new_page()
        page.goto(f"{server.url}/logs")
        expect(page.locator("#found")).to_have_text(f"{MANY:,} lines")
        places = page.locator("#list")
        places.evaluate("list => list.scrollTop = list.scrollHeight / 2")
        seq = page.locator(".record:not(.absent) .seq").first
        expect(seq).to_have_text(nearly(MANY // 2))
        places.evaluate("list => list.scrollTop += 52")
        places.evaluate("list => list.scrollTop = list.scrollHeight")
        expect(page.locator(".record .seq").last).to_have_text("1")
        page.goto(f"{server.url}/logs#77777")
        page.reload()
        expect(page.get_by_role("heading", name="Line 77,777")).to_be_visible()
        expect(page.locator(".record[aria-selected=true] .seq")).to_have_text("77,777")
        page.get_by_label("Search prompts").fill("prompt number 4242 ")
        expect(page.locator("#found")).to_have_text("1 found", timeout=60_000)


def nearly(seq: int) -> re.Pattern[str]:
    thousand = seq // 1000
    return re.compile(rf"^({thousand - 1}|{thousand}|{thousand + 1}),\d\d\d$")


def write_log(folder: Path, records: int) -> None:
    """A log as the vault writes it, made in a moment."""
    folder.mkdir(mode=0o700)
    prev = "0" * 64
    with (folder / "log.jsonl").open("wb") as file:
        for seq in range(1, records + 1):
            line = (
                b'{"timestamp":"2026-11-23T10:%02d:%02d.000Z","prompt":"prompt number %d is here",'
                b'"response":"and an answer","id":"x%d","finish_reason":"stop",'
                b'"model":{"name":"echo","sha256":null},"client":"sse","seq":%d,"prev":"%s"}'
                % (seq // 60 % 60, seq % 60, seq, seq, seq, prev.encode())
            )
            prev = hashlib.sha256(line).hexdigest()
            file.write(line + b"\n")
    (folder / "log.jsonl").chmod(0o600)
