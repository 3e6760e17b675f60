"""Lost connections, reloads, restarts: the answer goes on as if nothing had happened."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from threading import Event
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from minivault.backends.echo import EchoBackend
from minivault.vault.log import Log
from minivault.web import sse
from tests.browser.backends import Fails
from tests.browser.chat_page import ENDLESS, ChatPage
from tests.faults.cutproxy import CutProxy
from tests.live import LiveServer, live_server
from tests.processes import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "one fox met two crows near the sea"
HALTING = ("--backend", "tests.echoes:Halting")


def responses(server: LiveServer) -> list[str]:
    return [json.loads(line)["response"] for line in server.log.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["fin", "rst"])
def test_a_stream_that_is_cut_three_times_is_whole(
    page: Page, tmp_path: Path, mode: Literal["fin", "rst"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "_RETRY", b"retry: 50\n\n")  # not a second
    with (
        live_server(tmp_path, EchoBackend(delay=0.01), allowed_host=["127.0.0.1"]) as server,
        CutProxy(server.port, after_bytes=1500, times=3, mode=mode, path="/generate") as proxy,
    ):
        chat = ChatPage(page, f"http://127.0.0.1:{proxy.port}").open()
        text = chat.ask(PROMPT)
        assert proxy.cuts == 3
        assert responses(server) == [text]


def test_a_long_prompt_goes_by_post_and_resumes_by_its_id(page: Page, tmp_path: Path) -> None:
    with (
        live_server(
            tmp_path,
            EchoBackend(delay=0.01, context_length=10_000),
            allowed_host=["127.0.0.1"],
        ) as server,
        CutProxy(
            server.port, after_bytes=1500, times=2, path="/generate", read=(read := Event())
        ) as proxy,
    ):
        chat = ChatPage(page, f"http://127.0.0.1:{proxy.port}").open()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        chat.send("a long way to go " * 500)
        chat.wait_for_text()  # and with it the id to resume by
        read.set()
        chat.wait()
        text = chat.said()
        assert proxy.cuts == 2
        assert responses(server) == [text]
        generations = [each for each in asked if "/generate" in each]
        methods = [each.split()[0] for each in generations]
        assert (methods[0], set(methods[1:])) == ("POST", {"GET"})
        assert all(len(each) < 1000 for each in generations)


def test_a_reload_in_mid_stream_goes_on(slow_chat: ChatPage, slow: LiveServer) -> None:
    slow_chat.send(PROMPT)
    slow_chat.wait_for_text(60)
    slow_chat.page.reload()
    slow_chat.wait_for_text(300)
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
    assert slow_chat.said() == responses(slow)[-1]


def test_a_closed_tab_is_picked_up_by_the_next(slow_chat: ChatPage, slow: LiveServer) -> None:
    slow_chat.send(PROMPT)
    slow_chat.wait_for_text(60)
    context = slow_chat.page.context
    slow_chat.page.close()
    again = ChatPage(context.new_page(), slow_chat.url).open()
    again.wait_for_text(300)
    again.stop_button.click()
    again.wait("stopped")
    assert again.said() == responses(slow)[-1]


def test_an_answer_goes_on_while_another_conversation_is_shown(
    slow_chat: ChatPage, slow: LiveServer
) -> None:
    slow_chat.send("left alone for a while")
    slow_chat.wait_for_text(30)
    slow_chat.begin()
    expect(slow_chat.exchanges).to_have_count(0)
    expect(slow_chat.page.locator("#conversation-list small")).to_have_text("writing…")
    slow_chat.page.get_by_role("link", name="left alone").click()
    slow_chat.wait_for_text(200)
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
    assert slow_chat.said() == responses(slow)[-1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_restarted_server_goes_on_with_the_answer(
    page: Page, tmp_path: Path, port: int, how: signal.Signals
) -> None:
    with serving(tmp_path, *HALTING, "--port", str(port), "--drain", "0") as first:
        chat = ChatPage(page, first.url.rstrip("/")).open()
        chat.parameter("max_tokens").fill("250")
        chat.send(PROMPT)
        chat.wait_for_text(30)
        first.stop(how)
        expect(chat.last.locator(".facts")).to_contain_text("connection lost")
        expect(page.locator("#model")).to_have_attribute("data-status", "unreachable")
        expect(page.locator("#conversation-list small")).to_have_text("waiting…")
    (tmp_path / "go").touch()
    with serving(tmp_path, *HALTING, "--port", str(port)):
        chat.wait()
        words = PROMPT.split()
        said = chat.said().split()
        start = words.index(said[0])
        assert said == [words[(start + step) % len(words)] for step in range(250)]


def test_a_prompt_waits_for_a_server_that_is_away(page: Page, tmp_path: Path, port: int) -> None:
    with live_server(tmp_path, port=port) as server:
        chat = ChatPage(page, server.url).open()
    chat.send(PROMPT)
    expect(chat.last.locator(".facts")).to_contain_text("does not answer")
    expect(page.locator("#model")).to_have_attribute("data-status", "unreachable")
    with live_server(tmp_path, port=port) as server:
        chat.wait()
        assert responses(server) == [chat.said()]


def test_waiting_for_a_server_can_be_given_up(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        chat = ChatPage(page, server.url).open()
    chat.send(PROMPT)
    expect(chat.last.locator(".facts")).to_contain_text("does not answer")
    chat.stop_button.click()
    chat.wait("stopped")


def test_a_full_queue_is_told_and_waited_for(page: Page, tmp_path: Path) -> None:
    endless = EchoBackend(delay=0.02, context_length=10**6)
    with live_server(tmp_path, endless, max_running=1, max_waiting=0) as server:
        first = ChatPage(page, server.url).open()
        first.parameter("max_tokens").fill(ENDLESS)
        first.send("the first one takes long")
        first.wait_for_text(5)
        second = ChatPage(page.context.new_page(), server.url).open("#new")
        second.parameter("max_tokens").fill("3")
        second.send("nobody may wait")
        expect(second.last.locator(".facts")).to_contain_text("it is tried again by itself")
        first.page.bring_to_front()
        first.stop_button.click()
        second.wait()


def test_a_prompt_that_is_too_long_is_explained_with_both_numbers(
    page: Page, tmp_path: Path
) -> None:
    with live_server(tmp_path, EchoBackend(context_length=64)) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("40")
        chat.ask("a few words")
        page.get_by_label("Continue the text above").check()
        chat.send("and more of them " * 5)
        chat.wait("refused")
        problem = chat.last.get_by_role("alert")
        expect(problem).to_contain_text("of 64 tokens")


def test_a_model_that_fails_is_explained_and_what_it_said_is_kept(
    page: Page, tmp_path: Path
) -> None:
    with live_server(tmp_path, Fails()) as server:
        chat = ChatPage(page, server.url).open()
        chat.send(PROMPT)
        chat.wait("failed")
        assert chat.said() == "so far so good"
        expect(chat.last.get_by_role("alert")).to_contain_text(
            "The model failed. The backend raised RuntimeError."
        )
        expect(chat.last.get_by_role("button", name="Try again")).to_be_visible()


def test_a_log_that_is_full_is_told_at_once_and_no_longer_than_it_is(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_server(tmp_path) as server:
        chat = ChatPage(page, server.url).open()
        with monkeypatch.context() as full:
            full.setattr(Log, "append", _no_space)
            chat.send(PROMPT)
            chat.wait("failed")
            expect(chat.last.get_by_role("alert")).to_contain_text("The text above is not in the")
            expect(page.locator("#model")).not_to_have_attribute("data-status", "ready")
        expect(chat.last.get_by_role("alert")).to_be_hidden()
        expect(chat.last.locator(".facts")).to_contain_text("written to the vault late")
        assert responses(server) == [chat.said()]


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_notice_is_read_once(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        server.service.stage.notice = "another model serves. This brings it: minivault pull other"
        notice = page.locator("#notice")
        ChatPage(page, server.url).open()
        expect(notice).to_contain_text(
            "Another model serves. This brings it: minivault pull other."
        )
        page.get_by_role("button", name="Close this notice").click()
        expect(notice).to_be_hidden()
        page.goto(f"{server.url}/logs")
        expect(page.locator("#model")).to_have_attribute("data-status", "ready")
        expect(notice).to_be_hidden()
        server.service.stage.notice = "something new"
        page.reload()
        expect(notice).to_contain_text("Something new.")


def test_an_answer_of_another_server_is_gone_in_words(
    page: Page, tmp_path: Path, port: int
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with serving(one, *HALTING, "--port", str(port)) as first:
        chat = ChatPage(page, first.url.rstrip("/")).open()
        chat.send(PROMPT)
        chat.wait_for_text(30)
        first.stop(signal.SIGKILL)
    (two / "go").touch()
    with serving(two, *HALTING, "--port", str(port)):
        chat.wait("gone")
        expect(chat.last.get_by_role("alert")).to_contain_text("no longer be followed")
        chat.act("Run again")
        expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
        chat.wait()


def test_a_loading_model_is_told_and_waited_for(page: Page, tmp_path: Path) -> None:
    backend = ("--backend", "tests.echoes:Loading")
    with serving(tmp_path, *backend, ready=False) as server:
        chat = ChatPage(page, server.url.rstrip("/"))
        page.goto(server.url)
        expect(page.locator("#model")).to_have_attribute("data-status", "loading")
        chat.send(PROMPT)
        expect(chat.last.locator(".facts")).to_contain_text("waiting")
        (tmp_path / "loaded").touch()
        chat.wait()
