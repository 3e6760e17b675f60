"""The chat page: writing, stopping, and the alternatives of an answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.backends import Chatty, Forgetful, Says
from tests.browser.chat_page import ChatPage
from tests.live import LiveServer, live_server, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "Once upon a time there was a fox"


def last_record(server: LiveServer) -> dict[str, object]:
    record: dict[str, object] = json.loads(server.log.read_text().splitlines()[-1])
    return record


def test_an_answer_streams_in_and_is_what_the_log_holds(chat: ChatPage, echo: LiveServer) -> None:
    text = chat.ask(PROMPT)
    record = last_record(echo)
    assert text == record["response"]
    assert record["prompt"] == PROMPT
    assert chat.receipt() == record["seq"]
    assert chat.seed() == record["seed"]


def test_the_text_grows_with_a_caret_and_the_title_tells(slow_chat: ChatPage) -> None:
    slow_chat.send(PROMPT)
    slow_chat.wait_for_text(5)
    early = slow_chat.said()
    caret = "getComputedStyle([...document.querySelectorAll('.said')].at(-1), '::after').content"
    assert slow_chat.page.evaluate(caret) == '""'
    expect(slow_chat.page).to_have_title(re.compile("^Writing…"))
    slow_chat.wait_for_text(len(early) + 20)
    assert slow_chat.said().startswith(early)
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
    assert slow_chat.page.evaluate(caret) == "none"
    expect(slow_chat.page).to_have_title(f"{PROMPT} · MiniVault")


def test_stop_stops_the_server_and_keeps_the_text(slow_chat: ChatPage, slow: LiveServer) -> None:
    slow_chat.send(PROMPT)
    slow_chat.wait_for_text(20)
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
    record = last_record(slow)
    assert (record["prompt"], record["finish_reason"]) == (PROMPT, "cancelled")
    assert record["response"] == slow_chat.said()
    expect(slow_chat.last.locator(".facts")).to_contain_text("stopped")
    wait_for(lambda: slow.service.registry.statistics()["running"] == 0)


def test_escape_stops_too(slow_chat: ChatPage) -> None:
    slow_chat.send(PROMPT)
    slow_chat.wait_for_text(5)
    slow_chat.page.keyboard.press("Escape")
    slow_chat.wait("stopped")


def test_regenerate_draws_a_new_seed_and_keeps_the_old_answer(chat: ChatPage) -> None:
    chat.ask(PROMPT)
    first = chat.seed()
    chat.act("Regenerate")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    chat.wait()
    assert chat.seed() != first
    assert max(first, chat.seed()) < 2**32  # read and typed by people
    chat.last.get_by_role("button", name="Earlier answer").click()
    expect(chat.last.locator(".alternatives")).to_contain_text("1 of 2")
    assert chat.seed() == first
    expect(chat.exchanges).to_have_count(1)


def test_retry_makes_the_same_text_with_the_same_seed(chat: ChatPage) -> None:
    text = chat.ask("one two three four five six seven")
    seed = chat.seed()
    chat.act("Retry")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    chat.wait()
    assert (chat.said(), chat.seed()) == (text, seed)
    facts = chat.last.locator(".facts")
    expect(facts).to_contain_text("the same, byte for byte, as 1 of 2 ✓")
    expect(facts.locator("li")).to_have_count(5)  # tokens, speed, sameness, receipt, more
    expect(facts.get_by_text("seed")).to_be_hidden()
    facts.get_by_text("more").click()
    expect(facts.get_by_text("seed")).to_be_visible()
    expect(facts).to_contain_text("cut at 320 tokens")
    expect(chat.last.locator("[data-action=continue]")).to_have_class("main")


def test_a_retry_that_comes_out_otherwise_says_so(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Forgetful()) as server:
        chat = ChatPage(page, server.url).open()
        chat.ask("what did you see")
        chat.act("Retry")
        expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
        chat.wait()
        expect(chat.last.locator(".facts")).to_contain_text("the same request as 1 of 2, but")


def test_continue_writes_on_from_the_models_own_text(chat: ChatPage, echo: LiveServer) -> None:
    chat.parameter("max_tokens").fill("5")
    text = chat.ask(PROMPT)
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    assert last_record(echo)["prompt"] == PROMPT + text
    expect(chat.last.locator(".prompt")).to_have_count(0)


def test_a_text_is_written_in_and_goes_on_from_any_place(chat: ChatPage, echo: LiveServer) -> None:
    chat.parameter("max_tokens").fill("5")
    begun = chat.ask("the first words")
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    whole = "the first words" + begun + chat.said()
    chat.act("Edit")
    editor = chat.last.get_by_role("textbox", name="Text")
    expect(editor).to_have_value(whole)
    expect(chat.page.locator(".text:visible")).to_have_count(0)
    editor.press("Escape")
    expect(chat.page.locator(".prompt:visible")).to_have_text("the first words")
    expect(chat.exchanges).to_have_count(2)
    chat.act("Edit")
    editor.fill("other words and these behind")
    editor.evaluate("area => area.setSelectionRange(11, 11)")
    editor.press("Enter")
    expect(chat.last.locator(".prompt")).to_have_text("other words")
    chat.wait()
    assert last_record(echo)["prompt"] == "other words"
    chat.last.get_by_role("button", name="Earlier answer").click()
    expect(chat.exchanges).to_have_count(2)
    expect(chat.page.locator(".prompt")).to_have_text("the first words")


def test_the_context_is_the_prompt_alone_or_everything_above(
    chat: ChatPage, echo: LiveServer
) -> None:
    chat.parameter("max_tokens").fill("3")
    first = chat.ask("a b c")
    chat.ask("d e f")
    assert last_record(echo)["prompt"] == "d e f"
    chat.page.get_by_label("Continue the text above").check()
    above = chat.said()
    chat.ask("g h i")
    assert last_record(echo)["prompt"] == f"d e f{above}\n\ng h i"
    assert first


def test_copy_takes_the_answer_as_it_is(chat: ChatPage) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = chat.ask(PROMPT)
    chat.act("Copy")
    expect(chat.page.locator("#announcement")).to_have_text("Copied")
    assert chat.page.evaluate("navigator.clipboard.readText()") == PROMPT + text


def test_a_text_and_its_continuations_are_one(chat: ChatPage) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.parameter("max_tokens").fill("5")
    text = chat.ask(PROMPT)
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    expect(chat.page.locator(".actions:visible")).to_have_count(1)
    first, second = chat.page.locator(".said").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().y)"
    )
    assert abs(first - second) < 2  # on one line: it goes on where it ended
    more = chat.said()
    chat.act("Copy")
    expect(chat.page.locator("#announcement")).to_have_text("Copied")
    assert chat.page.evaluate("navigator.clipboard.readText()") == PROMPT + text + more


def test_a_first_prompt_is_one_click_away_and_the_model_is_explained(chat: ChatPage) -> None:
    expect(chat.page.locator("#explanation")).to_contain_text("continues text")
    first = chat.page.locator("#library button").first
    words = first.inner_text()
    first.click()
    expect(chat.prompt).to_have_value(words)
    expect(chat.prompt).to_be_focused()


def test_shift_enter_breaks_the_line_and_arrows_recall_prompts(chat: ChatPage) -> None:
    chat.prompt.fill("a")
    chat.prompt.press("Shift+Enter")
    chat.prompt.press_sequentially("b")
    expect(chat.prompt).to_have_value("a\nb")
    chat.prompt.press("Enter")
    chat.wait()
    chat.ask("second")
    chat.prompt.press("ArrowUp")
    expect(chat.prompt).to_have_value("second")
    chat.prompt.press("ArrowUp")
    expect(chat.prompt).to_have_value("a\nb")
    chat.prompt.press("ArrowDown")
    chat.prompt.press("ArrowDown")
    expect(chat.prompt).to_have_value("")


def test_the_keyboard_list_opens_and_closes(chat: ChatPage) -> None:
    chat.page.keyboard.press("Control+/")
    dialog = chat.page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(chat.prompt).to_be_focused()


def test_a_chat_model_gets_messages(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Chatty()) as server:
        chat = ChatPage(page, server.url).open()
        expect(page.locator("#explanation")).to_contain_text("Ask something")
        chat.parameter("max_tokens").fill("3")
        answer = chat.ask("Hello?")
        chat.ask("And now?")
        record = last_record(server)
        assert record["messages"] == [
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "And now?"},
        ]
        chat.act("Continue")
        expect(chat.exchanges).to_have_count(3)
        chat.wait()
        messages = last_record(server)["messages"]
        assert isinstance(messages, list)
        assert messages[-1]["role"] == "assistant"


@pytest.mark.parametrize("text", ["héllo", "line\r\nend\n\n", "a\u2028b", "🦊 漢字 שלום", " lead"])
def test_every_character_arrives(page: Page, tmp_path: Path, text: str) -> None:
    with live_server(tmp_path, Says([text, " ", text])) as server:
        chat = ChatPage(page, server.url).open()
        assert chat.ask("say it") == f"{text} {text}"


def test_an_empty_answer_says_that_the_model_said_nothing(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Says([])) as server:
        chat = ChatPage(page, server.url).open()
        assert chat.ask("say it") == ""
        expect(chat.last.locator(".facts")).to_contain_text("the model had nothing to say")
