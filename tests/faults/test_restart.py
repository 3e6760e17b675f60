"""Chromium's EventSource, while servers die, restart and take over from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from media.browser import HEADLESS, chromium, launch
from minivault.web import sse
from tests.browser.chat_page import TIMEOUT
from tests.faults.cutproxy import CutProxy
from tests.faults.reader import Seen
from tests.live import live_server, wait_for
from tests.processes import Served, serving
from tests.tools import leave_out

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HALTING = ("--backend", "tests.echoes:Halting")
SMALL_PAGE = "/login"
ASKED: dict[str, Any] = {"prompt": "the quick brown 🤖 fox\njumps", "max_tokens": 150, "seed": 7}
# onmessage and a listener for the last events, nothing else: as anybody would write it.
READER = """(url) => {
  const seen = { text: '', ids: [], opens: 0, errors: 0, end: null, data: null };
  const source = new EventSource(url);
  source.onopen = () => { seen.opens += 1; };
  source.onerror = () => { seen.errors += 1; };
  source.onmessage = (event) => {
    seen.text += JSON.parse(event.data).text;
    seen.ids.push(event.lastEventId);
  };
  for (const name of ['done', 'failed', 'gone', 'stopped']) {
    source.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      if (data.resumable) return;
      Object.assign(seen, { end: name, data });
      source.close();
    });
  }
  window.look = () => ({ ...seen, state: source.readyState });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        leave_out("Chromium is not installed")
    with sync_playwright() as playwright, launch(playwright, HEADLESS) as browser:
        yield browser


class Reader:
    """A page that reads one generation."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def seen(self) -> Seen:
        return Seen(**self.page.evaluate("look()"))

    def finished(self) -> Seen:
        """What it has seen once its EventSource is closed."""
        wait_for(lambda: self.seen().state == 2)
        return self.seen()

    def has(self, pieces: int) -> None:
        """Waits until it has received that many."""
        wait_for(lambda: len(self.seen().ids) >= pieces)


@pytest.fixture
def read(browser: Browser) -> Iterator[Callable[[int], Reader]]:
    """Opens `/generate` of the server on this port in a page of that server."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)

    def open_reader(port: int) -> Reader:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}{SMALL_PAGE}")
        page.evaluate(READER, f"/generate?{urlencode(ASKED)}")
        return Reader(page)

    yield open_reader
    context.close()


def kill(server: Served) -> None:
    server.process.kill()
    server.process.wait()


def assert_whole(seen: Seen) -> None:
    assert (seen.end, seen.is_seamless, len(seen.ids)) == ("done", True, ASKED["max_tokens"])


@pytest.mark.parametrize("after", [1, 300, 1200])
def test_a_connection_cut_in_its_head_or_body_costs_nothing(
    tmp_path: Path, read: Callable[[int], Reader], after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the server has said when to come again, Chromium comes after three seconds."""
    monkeypatch.setattr(sse, "_RETRY", b"retry: 50\n\n")
    with live_server(tmp_path, allowed_host=["127.0.0.1"]) as server:
        cut = CutProxy(server.port, after_bytes=after, times=2, mode="rst", path="/generate")
        with cut as proxy:
            ASKED["key"] = f"my-key-{after}"
            seen = read(proxy.port).finished()
            del ASKED["key"]
        assert proxy.cuts == 2
        assert_whole(seen)
        assert [record["response"] for record in server.records()] == [seen.text]


@pytest.mark.parametrize("how", ["term", "kill"])
def test_a_restart_in_mid_stream_costs_nothing(
    tmp_path: Path, read: Callable[[int], Reader], port: int, how: str
) -> None:
    halting = (*HALTING, "--port", str(port))
    with serving(tmp_path, *halting, "--drain", "0") as first:
        reader = read(first.port)
        reader.has(10)
        if how == "term":
            assert first.stop() == 0
        else:
            kill(first)
        (tmp_path / "go").touch()
        with serving(tmp_path, *halting) as second:
            seen = reader.finished()
            records = second.records()
    assert_whole(seen)
    assert [record["finish_reason"] for record in records] == ["interrupted", "length"]
    assert records[1]["response"] == seen.text
    assert seen.text.startswith(records[0]["response"])
    assert records[1]["continues"] == records[0]["id"]


def test_a_reader_that_comes_back_while_the_model_loads_is_held(
    tmp_path: Path, read: Callable[[int], Reader], port: int
) -> None:
    at_port = ("--port", str(port))
    with serving(tmp_path, *HALTING, *at_port) as first:
        reader = read(first.port)
        reader.has(10)
        kill(first)
    with serving(tmp_path, "--backend", "tests.echoes:Loading", *at_port, ready=False):
        opens = reader.seen().opens
        wait_for(lambda: reader.seen().opens > opens + 2)  # it is held, and comes again
        (tmp_path / "loaded").touch()
        assert_whole(reader.finished())


def test_another_server_with_the_same_secret_takes_over(
    tmp_path: Path, read: Callable[[int], Reader]
) -> None:
    """Behind one address; each has its own log folder, and nothing is shared but the secret."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    options = (*HALTING, "--secret-file", str(tmp_path / "secret"), "--allowed-host", "127.0.0.1")
    (folders[1] / "go").touch()
    with serving(folders[0], *options) as one, serving(folders[1], *options) as two:
        with CutProxy(one.port, times=0) as proxy:
            reader = read(proxy.port)
            reader.has(10)
            proxy.forward_to(two.port)
            kill(one)
            seen = reader.finished()
        records = two.records()
    assert_whole(seen)
    assert [record["response"] for record in records] == [seen.text]


def test_a_prompt_that_kills_the_server_is_given_up_after_three_more_tries(
    tmp_path: Path, read: Callable[[int], Reader], port: int
) -> None:
    deadly = ("--backend", "tests.echoes:Deadly", "--port", str(port))
    with serving(tmp_path, *deadly) as first:
        reader = read(first.port)
        first.process.wait(60)
    lives = 0
    while reader.seen().end is None and lives < 9:
        lives += 1
        with serving(tmp_path, *deadly, ready=False) as server:  # it may die before it says so
            wait_for(lambda: server.process.poll() is not None or reader.seen().end)
    assert reader.seen().end == "gone"
    assert lives == 4, "three continuations, and the life that says it is gone"


def test_a_backend_that_cannot_repeat_itself_says_gone_after_a_restart(
    tmp_path: Path, read: Callable[[int], Reader], port: int
) -> None:
    fickle = ("--backend", "tests.echoes:Fickle", "--port", str(port))
    with serving(tmp_path, *fickle) as first:
        reader = read(first.port)
        reader.has(5)
        kill(first)
    with serving(tmp_path, *fickle):
        assert reader.finished().end == "gone"


def test_a_forged_id_is_gone_and_then_204(tmp_path: Path, browser: Browser) -> None:
    with live_server(tmp_path) as server:
        page = browser.new_page()
        page.goto(f"{server.url}{SMALL_PAGE}")
        query = urlencode(ASKED | {"lastEventId": "A" * 64 + ".3"})
        page.evaluate(READER, f"/generate?{query}")
        seen = Reader(page).finished()
        page.close()
        assert seen.end == "gone"
        assert not server.log.exists() or not server.records()


def test_the_storyteller_goes_on_after_a_kill(
    tmp_path: Path, read: Callable[[int], Reader], port: int
) -> None:
    options = ("--backend", "tests.stories:Recalling", "--port", str(port))
    with serving(tmp_path, *options) as first:
        reader = read(first.port)
        reader.has(5)
        kill(first)
    (tmp_path / "go").touch()
    with serving(tmp_path, *options) as second:
        seen = reader.finished()
        records = second.records()
    assert (seen.end, seen.is_seamless) == ("done", True)
    assert records[-1]["response"] == seen.text
    assert records[0]["finish_reason"] == "interrupted"
