"""The page in Firefox: the stream, the reconnect, the vault. Only `make test-firefox` runs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivault.backends.echo import EchoBackend
from tests.browser.bidi import ENTER, Firefox, firefox
from tests.live import live_server

READY = "document.querySelector('#model').dataset.status === 'ready'"
STATE = "[...document.querySelectorAll('.exchange')].at(-1)?.dataset.state"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    assert program, "Firefox is not installed (Debian: apt install firefox-esr)"
    with firefox(program, tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


def test_an_answer_streams_in_and_the_vault_shows_verifies_and_replays_it(
    browser: Firefox, tmp_path: Path
) -> None:
    with live_server(tmp_path) as server:
        browser.goto(server.url)
        browser.until(READY)
        browser.type("#prompt", "the fox and the crow" + ENTER)
        browser.until(f"{STATE} === 'done'")
        (record,) = server.records()
        assert record["prompt"] == "the fox and the crow"
        assert browser.text(".said") == record["response"]
        browser.goto(f"{server.url}/logs#1")
        browser.until("!document.querySelector('#detail').hidden")
        browser.click("#verify")
        browser.until("document.querySelector('#chain').dataset.ok === 'true'")
        browser.click("#replay")
        browser.until("document.querySelector('.replay').dataset.verdict === 'same'")
        browser.value(
            "{ const q = document.querySelector('[name=q]'); q.value = 'CROW';"
            "q.dispatchEvent(new Event('input', { bubbles: true })) }"
        )
        browser.until("document.querySelector('#found').textContent === '2 found'")
        browser.until("[...CSS.highlights.get('rows')].some(each => String(each) === 'crow')")


def test_an_answer_goes_on_when_its_server_comes_back(browser: Firefox, tmp_path: Path) -> None:
    prompt = "one two three four five six seven eight"
    with live_server(tmp_path, EchoBackend(delay=0.05)) as server:
        port = server.port
        browser.goto(server.url)
        browser.until(READY)
        browser.type("#prompt", prompt + ENTER)
        browser.until("document.querySelector('.said')?.textContent.length > 20")
    browser.until("document.querySelector('.exchange').dataset.connection === 'lost'")
    seen = browser.text(".said")
    with live_server(tmp_path, EchoBackend(), port=port) as server:
        browser.until(f"{STATE} === 'done'")
        said = browser.text(".said")
        assert said.startswith(seen)
        assert said == server.records()[-1]["response"]
