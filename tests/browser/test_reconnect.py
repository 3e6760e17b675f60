"""Lost connections, reloads, restarts: the answer goes on as if nothing had happened."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from minivault.backends.echo import EchoBackend
from minivault.vault.log import Log
from minivault.web import sse
from tests.browser.backends import Fails
from tests.browser.chat_page import ChatPage
from tests.faults.cutproxy import CutProxy
from tests.live import LiveServer, live_server
from tests.processes import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "one fox met two crows near the sea"
SLOW = ("--backend", "tests.echoes:Slow")


def responses(server: LiveServer) -> list[str]:
    return [json.loads(line)["response"] for line in server.log.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["fin", "rst"])
def test_a_stream_that_is_cut_three_times_is_whole(
    chat: ChatPage, tmp_path: Path, mode: Literal["fin", "rst"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "_RETRY", b"retry: 50\n\n")  # not a second
    with (
        live_server(tmp_path, EchoBackend(delay=0.01), allowed_host=["127.0.0.1"]) as server,
        CutProxy(server.port, after_bytes=1500, times=3, mode=mode, path="/generate") as proxy,
    ):
        page = ChatPage(chat.page, f"http://127.0.0.1:{proxy.port}").open()
        text = page.ask(PROMPT)
        assert proxy.cuts == 3
        assert responses(server) == [text]


def test_a_long_prompt_goes_by_post_and_resumes_by_its_id(chat: ChatPage, tmp_path: Path) -> None:
    with (
        live_server(
            tmp_path,
            EchoBackend(delay=0.01, context_length=10_000),
            allowed_host=["127.0.0.1"],
        ) as server,
        # A reset may take back what Chromium has not read yet, and with it the id to resume by.
        CutProxy(server.port, after_bytes=1500, times=2, mode="fin", path="/generate") as proxy,
    ):
        page = ChatPage(chat.page, f"http://127.0.0.1:{proxy.port}").open()
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        text = page.ask("a long way to go " * 500)
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
    slow_chat.page.get_by_role("button", name="New conversation").click()
    expect(slow_chat.exchanges).to_have_count(0)
    expect(slow_chat.page.locator("#conversation-list small")).to_have_text("writing…")
    slow_chat.page.get_by_role("link", name="left alone").click()
    slow_chat.wait_for_text(200)
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
    assert slow_chat.said() == responses(slow)[-1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_restarted_server_goes_on_with_the_answer(
    chat: ChatPage, tmp_path: Path, how: signal.Signals
) -> None:
    with serving(tmp_path, *SLOW, "--drain", "0") as first:
        port = str(first.port)
        page = ChatPage(chat.page, first.url.rstrip("/")).open()
        page.parameter("max_tokens").fill("250")
        page.send(PROMPT)
        page.wait_for_text(100)
        first.stop(how)
        expect(page.last.locator(".facts")).to_contain_text("connection lost")
        expect(page.page.locator("#model")).to_have_attribute("data-status", "unreachable")
        expect(page.page.locator("#conversation-list small")).to_have_text("waiting…")
    with serving(tmp_path, *SLOW, "--port", port):
        page.wait()
        words = PROMPT.split()
        said = page.said().split()
        start = words.index(said[0])
        assert said == [words[(start + step) % len(words)] for step in range(250)]


def test_a_prompt_waits_for_a_server_that_is_away(chat: ChatPage, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        port = server.port
        page = ChatPage(chat.page, server.url).open()
    page.send(PROMPT)
    expect(page.last.locator(".facts")).to_contain_text("does not answer")
    expect(page.page.locator("#model")).to_have_attribute("data-status", "unreachable")
    with live_server(tmp_path, port=port) as server:
        page.wait()
        assert responses(server) == [page.said()]


def test_waiting_for_a_server_can_be_given_up(chat: ChatPage, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        page = ChatPage(chat.page, server.url).open()
    page.send(PROMPT)
    expect(page.last.locator(".facts")).to_contain_text("does not answer")
    page.stop_button.click()
    page.wait("stopped")


def test_a_full_queue_is_told_and_waited_for(chat: ChatPage, tmp_path: Path) -> None:
    with live_server(tmp_path, EchoBackend(delay=0.02), max_running=1, max_waiting=0) as server:
        first = ChatPage(chat.page, server.url).open()
        first.parameter("max_tokens").fill("3000")
        first.send("the first one takes long")
        first.wait_for_text(5)
        second = ChatPage(chat.page.context.new_page(), server.url).open("#new")
        second.parameter("max_tokens").fill("3")
        second.send("nobody may wait")
        expect(second.last.locator(".facts")).to_contain_text("it is tried again by itself")
        first.page.bring_to_front()
        first.stop_button.click()
        second.wait()


def test_a_prompt_that_is_too_long_is_explained_with_both_numbers(
    chat: ChatPage, tmp_path: Path
) -> None:
    with live_server(tmp_path, EchoBackend(context_length=64)) as server:
        page = ChatPage(chat.page, server.url).open()
        page.parameter("max_tokens").fill("40")
        page.ask("a few words")
        page.page.get_by_label("Continue the text above").check()
        page.send("and more of them " * 5)
        page.wait("refused")
        problem = page.last.get_by_role("alert")
        expect(problem).to_contain_text("of 64 tokens")


def test_a_model_that_fails_is_explained_and_what_it_said_is_kept(
    chat: ChatPage, tmp_path: Path
) -> None:
    with live_server(tmp_path, Fails()) as server:
        page = ChatPage(chat.page, server.url).open()
        page.send(PROMPT)
        page.wait("failed")
        assert page.said() == "so far so good"
        expect(page.last.get_by_role("alert")).to_contain_text(
            "The model failed. The backend raised RuntimeError."
        )
        expect(page.last.get_by_role("button", name="Try again")).to_be_visible()


def test_a_log_that_is_full_is_told_at_once_and_no_longer_than_it_is(
    chat: ChatPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_server(tmp_path) as server:
        page = ChatPage(chat.page, server.url).open()
        with monkeypatch.context() as full:
            full.setattr(Log, "append", _no_space)
            page.send(PROMPT)
            page.wait("failed")
            expect(page.last.get_by_role("alert")).to_contain_text("The text above is not in the")
            expect(page.page.locator("#model")).not_to_have_attribute("data-status", "ready")
        expect(page.last.get_by_role("alert")).to_be_hidden()
        expect(page.last.locator(".facts")).to_contain_text("written to the vault late")
        assert responses(server) == [page.said()]


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_notice_is_read_once(chat: ChatPage, tmp_path: Path) -> None:
    with live_server(tmp_path) as server:
        server.service.stage.notice = "another model serves. This brings it: minivault pull other"
        page, notice = chat.page, chat.page.locator("#notice")
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


def test_an_answer_of_another_server_is_gone_in_words(chat: ChatPage, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with serving(one, *SLOW) as first:
        port = str(first.port)
        page = ChatPage(chat.page, first.url.rstrip("/")).open()
        page.send(PROMPT)
        page.wait_for_text(30)
        first.stop(signal.SIGKILL)
    with serving(two, *SLOW, "--port", port):
        page.wait("gone")
        expect(page.last.get_by_role("alert")).to_contain_text("no longer be followed")
        page.act("Run again")
        expect(page.last.locator(".alternatives")).to_contain_text("2 of 2")
        page.wait()


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
