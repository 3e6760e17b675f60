"""The log viewer: a million lines at hand, searched, verified, replayed."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from minivault.vault.redact import redact
from minivault.vault.signing import Signer
from minivault.vault.tree.cosignature import key_of
from tests.browser.backends import Chatty, Forgetful
from tests.browser.chat_page import ChatPage, hits
from tests.live import LiveServer, live_server
from tests.vault.tree import signed_log
from tests.vault.tree.signed_log import GOLDEN

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 200_000  # more rows than the list's box is high: 52 pixels each


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
    rests(page)
    return page


def rests(page: Page) -> None:
    """Waits until every row has come, and every line above the list, which moves it."""
    expect(page.locator("#found")).to_contain_text("line")
    expect(page.locator(".record").first).to_be_visible()
    expect(page.locator(".record.absent")).to_have_count(0)
    expect(page.locator("#history-caption")).to_contain_text("request")
    expect(page.locator("#chain-state")).not_to_be_empty()
    expect(page.locator("#tree-state")).to_contain_text("can be proven")


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
    assert set(hits(logs, "rows")) == {"marmalade"}
    expect(logs).to_have_url(re.compile(r"/logs\?q=MARMALADE$"))
    logs.reload()
    expect(logs.locator(".record .seq")).to_have_text(["108", "58", "8"])
    logs.get_by_label("Finish reason").select_option("stop")
    expect(logs.locator("#found")).to_have_text("0 found")
    expect(logs.locator("#nothing")).to_contain_text("No line matches.")
    logs.get_by_role("button", name="Clear").click()
    expect(logs.locator("#found")).to_have_text("150 lines")
    expect(logs.locator("#nothing")).to_be_hidden()
    expect(logs).to_have_url(re.compile("/logs$"))
    rests(logs)
    logs.goto(f"{logs.url}#75")
    expect(logs.locator(".record[aria-selected=true] .seq")).to_have_text("75")
    expect(logs.get_by_role("heading", name="Line 75")).to_be_visible()
    row, top, height = logs.evaluate(
        "() => ['.record[aria-selected=true]', '#list'].map(each =>"
        " document.querySelector(each).getBoundingClientRect())"
        ".flatMap((box, i) => i ? [box.y, box.height] : [box.y])"
    )
    assert abs(row - top - height / 2) < 60


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


def test_whom_the_tree_is_given_to_and_how_far_they_are_is_told(page: Page, tmp_path: Path) -> None:
    signed_log.write_key(tmp_path / "key")
    signed_log.write_log(tmp_path / "logs", tmp_path / "key", records=3)
    key = key_of("w.example", Signer.load(tmp_path / "key"))
    options: dict[str, Any] = {
        "signing_key": tmp_path / "key",
        "ship_hashes": str(tmp_path / "bucket"),
        "witness": [f"http://127.0.0.1:9#{key}"],
    }
    with live_server(tmp_path, **options) as server:
        page.goto(f"{server.url}/logs")
        state = page.locator("#tree-state")
        expect(state).to_contain_text("Lines 1 to 3 can be proven alone, signed.")
        expect(state).to_contain_text("/bucket up to line 3.")
        expect(state).to_contain_text("Not yet witnessed by w.example: the witness")


def test_a_line_is_proven_in_a_file_that_a_saved_page_checks(
    logs: Page, server: LiveServer, tmp_path: Path
) -> None:
    """The page is opened from the disk, without a network: it needs nothing but itself."""
    expect(logs.locator("#tree-state")).to_contain_text("can be proven alone")
    logs.locator(".record").nth(3).click()
    with logs.expect_download() as caught:
        logs.get_by_role("link", name="Prove").click()
    caught.value.save_as(tmp_path / caught.value.suggested_filename)
    assert caught.value.suggested_filename == "147.tlog-proof"
    saved = tmp_path / "check.html"
    saved.write_bytes(urlopen(f"{server.url}/static/check.html").read())
    errors: list[object] = []
    pages = [(logs.context.new_page(), saved.as_uri()), (logs, f"{server.url}/static/check.html")]
    for page, address in pages:
        page.on("pageerror", lambda error: errors.append(error))
        page.on("console", lambda message: errors.append(message))
        logs.context.set_offline(page is not logs)
        page.goto(address)
        page.get_by_label("The proof, a file").set_input_files(tmp_path / "147.tlog-proof")
        result = page.locator("#result")
        expect(result).to_contain_text("nobody’s signature was checked")
        expect(result).to_contain_text("letter 146 about weather")
        page.get_by_label("The proof, a file").set_input_files(GOLDEN / "17.tlog-proof")
        page.get_by_label("The public key, a file").set_input_files(GOLDEN / "key.pub")
        expect(result).to_contain_text("The proof is good")
        expect(result).to_contain_text("the holder of the key has signed that tree")
        proof = page.get_by_label("The proof", exact=True)
        proof.fill(proof.input_value().replace("index 16", "index 17"))
        expect(result).to_contain_text("Not good: the proof is wrong")
        assert errors == []
    logs.context.set_offline(False)


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


def test_a_verdict_covers_what_it_names_and_newer_lines_are_verified_by_themselves(
    page: Page, tmp_path: Path
) -> None:
    chain, state = page.locator("#chain"), page.locator("#chain-state")
    with live_server(tmp_path) as server:
        page.goto(f"{server.url}/logs")
        page.get_by_role("button", name="Verify").click()
        expect(state).to_contain_text("The log is empty. Verified just now")
        for prompt in ("one", "two", "three"):
            ask(server, prompt)
        held: list[Route] = []
        page.route(
            "**/logs/verify", lambda route: held.append(route)
        )  # so that what is not verified yet can be seen
        page.reload()
        expect(state).to_contain_text("The log was empty at")
        expect(state).to_contain_text("3 newer lines are not verified yet")
        expect(chain).to_have_attribute("data-ok", "")
        held[0].continue_()
        expect(state).to_contain_text("Whole: all 3 lines, nothing changed, nothing missing")
        expect(chain).to_have_attribute("data-ok", "true")
        page.unroute("**/logs/verify")
        ask(server, "four")
        ask(server, "five")
        text = server.log.read_text()
        server.log.write_text(text.replace('"prompt":"three"', '"prompt":"THREE"'))
        page.reload()
        expect(state).to_contain_text("Broken in log.jsonl, line 3: record 3 was changed. Checked")
        expect(chain).to_have_attribute("data-ok", "false")
        state.get_by_role("link").click()
        expect(page.locator(".record[aria-selected=true] .seq")).to_have_text("3")
        expect(page.locator("#detail")).to_contain_text("THREE")
        server.log.write_text(text)


def test_a_list_at_rest_is_left_alone(logs: Page) -> None:
    """Neither the whole log nor a search, with hits or without, changes rows without a reason."""
    search, found = logs.get_by_label("Search prompts"), logs.locator("#found")
    assert mutations(logs, 10) == 0
    search.fill("weather")
    expect(found).to_have_text("147 found")
    row = logs.locator(".record").first  # drawn in the frame after the number
    expect(row).to_have_attribute("aria-setsize", "147")
    assert mutations(logs, 30) == 0
    logs.locator(".record").first.evaluate("row => row.dataset.mark = 'kept'")
    assert mutations(logs, 30, "document.querySelector('#list').scrollTop = 300") > 0
    expect(logs.locator("[data-mark=kept]")).to_have_count(1)
    search.fill("marmalade")
    expect(found).to_have_text("3 found")
    expect(row).to_have_attribute("aria-setsize", "3")
    assert mutations(logs, 30) == 0
    logs.locator(".record").last.click()  # which Playwright does on what stands still only
    expect(logs.locator("#detail")).to_contain_text("letter 7 about marmalade")
    search.fill("nowhere to be seen")
    expect(found).to_have_text("0 found")
    expect(row).to_have_count(0)
    assert mutations(logs, 30) == 0


def mutations(page: Page, frames: int, code: str = "") -> int:
    """How often the list is changed in so many frames, of which the first one runs this code."""
    count: int = page.evaluate(
        "frames => new Promise(done => { let count = 0;"
        " const seen = new MutationObserver(found => (count += found.length));"
        " seen.observe(document.querySelector('#rows'),"
        "  { subtree: true, childList: true, attributes: true, characterData: true });"
        " const next = () => frames-- ? requestAnimationFrame(next)"
        "  : (seen.disconnect(), done(count));"
        f" next(); {code}; }})",
        frames,
    )
    return count


def test_a_conversation_is_read_as_one(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Chatty()) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("4")
        first = chat.ask("What is the sea?")
        second = chat.ask("And the sky?")
        page.goto(f"{server.url}/logs")
        rows = page.locator(".record")
        expect(rows.nth(0).locator(".prompt")).to_have_text("turn 2And the sky?")
        expect(rows.nth(1).locator(".prompt")).to_have_text("What is the sea?")
        rows.nth(0).click()
        said = page.locator("#detail .said")
        expect(said).to_have_count(4)
        for place, (who, text) in enumerate(
            [("User", "What is the sea?"), ("Assistant", first), ("User", "And the sky?")]
        ):
            assert said.nth(place).text_content() == who + text
        assert said.nth(3).text_content() == f"Response{second}"
        rendered = page.locator("#detail details")
        expect(rendered.locator(".body")).to_be_hidden()
        rendered.locator("summary").click()
        expect(rendered.locator(".body")).to_contain_text("<user> What is the sea? </user>")
        page.get_by_role("button", name="Replay").click()
        expect(page.locator(".replay")).to_contain_text("The same, byte for byte")
        expect(rows.first.locator(".reason")).to_have_text("replay of 2")
        redact(tmp_path / "logs", 1)
        page.reload()
        expect(rows.first.locator(".texts")).to_have_text("The text of line 1 was removed.")
        rows.first.click()
        page.locator("#detail").get_by_role("link", name="line 1").click()
        expect(page.get_by_role("heading", name="Line 1", exact=True)).to_be_visible()
        expect(page.locator("#detail")).to_contain_text("Removed; a later line tells of it.")


def test_an_absent_record_is_told_in_one_sentence(logs: Page, server: LiveServer) -> None:
    logs.goto(f"{server.url}/logs#999999")
    logs.reload()
    expect(logs.locator("#detail")).to_have_text("There is no record 999999.")


def test_new_lines_leave_who_reads_where_they_were(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        for number in range(30):
            ask(server, f"letter {number}")
        looks_often(page)
        page.goto(f"{server.url}/logs")
        page.locator(".record").nth(2).click()
        places = page.locator("#list")
        places.evaluate("list => list.scrollTop = 52")
        expect(page.locator(".record[aria-selected=true] .seq")).to_have_text("28")
        expect(page.locator("#detail")).to_contain_text("letter 27")  # it takes its room
        rests(page)
        before = page.locator("#row-28").bounding_box()
        ask(server, "a new one")
        expect(page.locator("#found")).to_have_text("31 lines")
        expect(page.locator("#row-28")).to_have_attribute("aria-posinset", "4")
        expect(page.locator(".record[aria-selected=true] .seq")).to_have_text("28")
        rests(page)
        assert page.locator("#row-28").bounding_box() == before


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
        expect(page.locator(".replay")).to_contain_text("differs from character 18 on")


def test_the_log_is_downloaded_as_it_stands(logs: Page, server: LiveServer) -> None:
    with logs.expect_download() as download:
        logs.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == server.log.read_bytes()


def test_the_picture_counts_what_is_in_the_log(logs: Page, server: LiveServer) -> None:
    lines = len(server.log.read_text().splitlines())
    expect(logs.locator("#history-caption")).to_contain_text(f"{lines} requests")
    expect(logs.locator("#history-chart svg[role=img]")).to_be_visible()
    expect(logs.locator("#history-chart rect.stop")).not_to_have_count(0)
    expect(logs.locator("#history-chart title").first).to_contain_text(
        re.compile(r"\d+ requests? \(\d+ length")
    )
    expect(logs.locator("#history-chart .axis")).to_contain_text("highest: ")
    expect(logs.locator("#history-chart .axis")).to_contain_text(str(datetime.now(UTC).year))
    expect(logs.locator("#history-legend")).to_contain_text("length")


def test_few_requests_are_a_sentence_and_no_picture(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        page.goto(f"{server.url}/logs")
        expect(page.locator("#nothing")).to_contain_text("Nothing has been recorded yet.")
        ask(server, "only one")
        page.reload()
        expect(page.locator("#history-caption")).to_contain_text("1 request, 5 tokens")
        expect(page.locator("#history-chart")).to_contain_text("With 10 requests or more")
        expect(page.locator("#history-chart svg")).to_have_count(0)
        page.get_by_label("Search prompts").fill("nowhere")
        expect(page.locator("#nothing")).to_contain_text("No line matches.")


def test_a_record_goes_on_paper_as_a_whole(logs: Page) -> None:
    logs.locator(".record").first.click()
    expect(logs.get_by_role("heading", name="Line ")).to_be_visible()
    logs.emulate_media(media="print")
    for part in ("#list", "#filters", ".bar", "#detail button"):
        expect(logs.locator(part).first).to_be_hidden()
    expect(logs.locator("#detail .fields").first).to_be_visible()
    whole = "e => e.scrollHeight <= e.clientHeight + 1"
    assert logs.locator("#detail").evaluate(whole)


def test_the_picture_names_a_file_that_cannot_be_read(page: Page, tmp_path: Path) -> None:
    write_log(tmp_path / "logs", 20)
    newest = tmp_path / "logs" / "log.jsonl"
    lines = newest.read_bytes().splitlines(keepends=True)
    with live_server(tmp_path) as server:
        newest.write_bytes(b"".join(lines[15:]))
        cut = gzip.compress(b"".join(lines[:15]))[:-20]
        newest.with_name("log-000000000001.jsonl.gz").write_bytes(cut)
        page.goto(f"{server.url}/logs")
        expect(page.locator("#history-caption")).to_contain_text("(not all can be read: log-0000")
        expect(page.locator(".record .seq").first).to_have_text("20")


def test_new_lines_appear_by_themselves(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        ask(server, "the first")
        looks_often(page)
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
        height = page.locator("#rows").evaluate("rows => rows.clientHeight")
        assert height == 8_000_000  # of the 17,895,697 that Firefox has
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


def looks_often(page: Page) -> None:
    """For new lines: each fifth of a second, not each fifth second."""
    page.add_init_script(
        "{ const every = window.setInterval;"
        " window.setInterval = (what, ms) => every(what, ms === 5000 ? 200 : ms); }"
    )


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
