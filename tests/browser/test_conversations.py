"""Conversations: kept in the browser, found again, taken out and in, the same in all tabs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Download, expect

from tests.browser.chat_page import ChatPage, hits
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def expect_titles(chat: ChatPage, *titles: str) -> None:
    expect(chat.page.locator("#conversation-list bdi")).to_have_text(titles)


def begin(chat: ChatPage, *prompts: str) -> None:
    """One conversation for each prompt."""
    for prompt in prompts:
        chat.begin()
        chat.ask(prompt)


def save(chat: ChatPage, form: str) -> str:
    with chat.page.expect_download() as download:
        chat.do("the fox and the crow", form)
    return content(download.value)


def content(download: Download) -> str:
    return Path(download.path()).read_text(encoding="utf-8")


def test_a_reload_shows_the_same_conversation(chat: ChatPage) -> None:
    text = chat.ask("the fox and the crow")
    expect_titles(chat, "the fox and the crow")  # it is kept: an answer can be there sooner
    address = chat.page.url
    chat.page.reload()
    chat.wait()
    assert (chat.said(), chat.page.url) == (text, address)
    expect_titles(chat, "the fox and the crow")


def test_a_reload_at_any_moment_loses_nothing_that_was_sent(chat: ChatPage) -> None:
    """It is kept before it goes out; until then it is still what is being written."""
    words = "sent in the last moment"
    chat.send(words)
    chat.page.reload()
    sent = chat.page.locator(".prompt").filter(has_text=words)
    listed = chat.page.get_by_role("link", name=words)  # kept, but not yet in the address
    chat.until(lambda: chat.prompt.input_value() == words or sent.count() + listed.count() > 0)


def test_what_is_being_written_stays_with_its_conversation(chat: ChatPage) -> None:
    chat.ask("about foxes")
    chat.prompt.fill("half a thou")
    chat.begin()
    expect(chat.prompt).to_have_value("")
    chat.prompt.fill("a beginning")
    chat.page.get_by_role("link", name="about foxes").click()
    expect(chat.prompt).to_have_value("half a thou")
    chat.page.reload()
    expect(chat.prompt).to_have_value("half a thou")
    chat.begin()
    expect(chat.prompt).to_have_value("a beginning")


def test_the_latest_one_opens_where_no_address_names_one(chat: ChatPage) -> None:
    begin(chat, "first", "second")
    chat.open()
    expect(chat.last.locator(".prompt")).to_have_text("second")


def test_conversations_are_switched_renamed_and_deleted(chat: ChatPage) -> None:
    begin(chat, "about foxes", "about crows")
    expect_titles(chat, "about crows", "about foxes")
    expect(chat.page.locator("#conversation-list .period")).to_have_text(["Today"])
    expect(chat.page.locator("#conversation-list small")).to_have_count(0)
    chat.page.get_by_role("link", name="about foxes").click()
    expect(chat.page.locator("#conversation-list [aria-current]")).to_contain_text("about foxes")
    chat.do("about foxes", "Rename")
    title = chat.page.get_by_role("textbox", name="Title")
    title.fill("My foxes")
    title.press("Enter")
    expect(chat.page.locator("#conversation-list bdi").filter(has_text="My foxes")).to_be_visible()
    chat.do("My foxes", "Delete")
    expect_titles(chat, "about crows")
    expect(chat.exchanges).to_have_count(0)


def test_a_deletion_can_be_undone(chat: ChatPage) -> None:
    begin(chat, "keep me", "something else")
    chat.do("keep me", "Delete")
    expect_titles(chat, "something else")
    expect(chat.last.locator(".prompt")).to_have_text("something else")  # it was not on display
    told = chat.page.locator("#announcement")
    expect(told).to_contain_text("“keep me” is deleted; the vault keeps its lines.")
    told.get_by_role("button", name="Undo").click()
    expect_titles(chat, "something else", "keep me")
    expect(chat.last.locator(".prompt")).to_have_text("keep me")
    chat.page.reload()
    expect_titles(chat, "something else", "keep me")


def test_a_pinned_conversation_stands_above_all_others(chat: ChatPage) -> None:
    begin(chat, "first", "second", "third")
    more = chat.page.get_by_role("button", name="More for first")
    more.focus()
    more.press("Enter")
    expect(chat.page.get_by_role("menuitem", name="Pin")).to_be_focused()
    chat.page.keyboard.press("ArrowUp")
    expect(chat.page.get_by_role("menuitem", name="Delete")).to_be_focused()
    chat.page.keyboard.press("ArrowDown")
    chat.page.keyboard.press("Enter")
    expect_titles(chat, "first", "third", "second")
    expect(chat.page.locator(".period")).to_have_text(["Pinned", "Today"])
    chat.page.reload()
    expect_titles(chat, "first", "third", "second")
    chat.do("first", "Unpin")
    expect_titles(chat, "third", "second", "first")


def test_a_menu_on_a_narrow_screen_leaves_the_list_open(
    new_context: Callable[..., BrowserContext], echo: LiveServer
) -> None:
    page = new_context(viewport={"width": 390, "height": 700}, has_touch=True).new_page()
    chat = ChatPage(page, echo.url).open()
    chat.ask("named later")
    page.get_by_role("button", name="Conversations").tap()
    page.get_by_role("button", name="More for named later").tap()
    page.get_by_role("menuitem", name="Rename").tap()
    title = page.get_by_role("textbox", name="Title")
    title.fill("a name")
    title.press("Enter")
    expect_titles(chat, "a name")


def test_search_looks_into_titles_and_texts(chat: ChatPage) -> None:
    begin(chat, "marmalade for breakfast", "rain on the roof")
    chat.page.keyboard.press("Control+k")
    expect(chat.page.locator("#search")).to_be_focused()
    chat.page.keyboard.type("MARMALADE")
    expect_titles(chat, "marmalade for breakfast")
    assert hits(chat.page, "titles") == ["marmalade"]
    chat.page.locator("#search").fill("nowhere")
    expect(chat.page.locator("#no-conversations")).to_have_text("Nothing found.")


def test_the_keyboard_is_never_lost(chat: ChatPage) -> None:
    """What is typed after a key has done something goes somewhere."""
    begin(chat, "marmalade for breakfast", "rain on the roof")
    keyboard, focused = chat.page.keyboard, chat.page.locator(":focus")
    chat.act("Edit")
    keyboard.press("Escape")
    expect(focused).to_have_attribute("data-action", "edit")
    chat.last.get_by_role("button", name="Regenerate").focus()
    keyboard.press("Enter")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")
    expect(chat.prompt).to_be_focused()
    chat.wait()
    chat.last.get_by_role("button", name="Earlier answer").focus()
    keyboard.press("Enter")
    expect(chat.last.locator(".alternatives")).to_contain_text("1 of 2")
    expect(chat.prompt).to_be_focused()  # there is no earlier one, so its button is off
    keyboard.press("Control+k")
    keyboard.type("o")
    expect_titles(chat, "rain on the roof", "marmalade for breakfast")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    expect(focused).to_contain_text("marmalade")
    keyboard.press("Enter")
    expect(chat.last.locator(".prompt")).to_have_text("marmalade for breakfast")
    expect(focused).to_contain_text("marmalade")
    keyboard.press("ArrowUp")
    keyboard.press("ArrowUp")
    expect(chat.page.locator("#search")).to_be_focused()
    keyboard.press("Enter")
    expect(chat.last.locator(".prompt")).to_have_text("rain on the roof")
    keyboard.press("Alt+n")
    expect(chat.exchanges).to_have_count(0)
    keyboard.type("typed at once")
    expect(chat.prompt).to_have_value("typed at once")


def test_what_is_sent_right_after_a_new_one_was_asked_for_is_its_own(chat: ChatPage) -> None:
    """In the same moment, as keys that waited for a busy machine are."""
    chat.ask("about foxes")
    chat.page.evaluate(
        "() => { document.querySelector('#new-conversation').click();"
        " document.querySelector('#prompt').value = 'about crows';"
        " document.querySelector('#composer').requestSubmit(); }"
    )
    expect(chat.last.locator(".prompt")).to_have_text("about crows")
    expect(chat.exchanges).to_have_count(1)
    expect_titles(chat, "about crows", "about foxes")
    chat.page.go_back()
    expect(chat.last.locator(".prompt")).to_have_text("about foxes")


def test_back_is_followed_at_once(chat: ChatPage) -> None:
    """Not when "hashchange" is told of it: an answer may have put its own address there by then."""
    late = "addEventListener('hashchange', (event) => event.stopImmediatePropagation())"
    chat.page.add_init_script(late)
    chat.page.reload()
    begin(chat, "about foxes", "about crows")
    chat.page.go_back()
    expect(chat.last.locator(".prompt")).to_have_text("about foxes")


def test_markdown_holds_the_text_and_how_to_make_it_again(chat: ChatPage) -> None:
    text = chat.ask("the fox and the crow")
    markdown = save(chat, "Markdown")
    assert "> the fox and the crow" in markdown
    assert text in markdown
    assert f"seed {chat.seed()}" in markdown


def test_json_goes_out_and_comes_in_again(chat: ChatPage, tmp_path: Path) -> None:
    text = chat.ask("the fox and the crow")
    exported = save(chat, "JSON")
    assert json.loads(exported)["conversations"][0]["exchanges"][0]["text"] == text
    with chat.page.expect_download() as download:
        chat.page.get_by_role("button", name="Export all").click()
    assert json.loads(content(download.value)) == json.loads(exported)
    file = tmp_path / "conversations.json"
    file.write_text(exported, encoding="utf-8")
    chat.page.locator("#import-file").set_input_files(file)
    expect(chat.page.locator("#announcement")).to_have_text("0 imported, 1 was here already")
    expect_titles(chat, "the fox and the crow")
    file.write_text(exported.replace(text, "another text"), encoding="utf-8")
    chat.page.locator("#import-file").set_input_files(file)
    expect_titles(chat, *["the fox and the crow"] * 2)


def test_a_file_that_is_something_else_is_refused_in_words(chat: ChatPage, tmp_path: Path) -> None:
    file = tmp_path / "letter.json"
    file.write_text("Dear Sir", encoding="utf-8")
    chat.page.locator("#import-file").set_input_files(file)
    expect(chat.page.locator("#announcement")).to_contain_text("not JSON")


def test_another_tab_shows_what_happens_here(chat: ChatPage) -> None:
    chat.ask("shared words")
    other = ChatPage(chat.page.context.new_page(), chat.url).open()
    expect(other.last.locator(".prompt")).to_have_text("shared words")
    text = chat.ask("more words")
    expect(other.exchanges).to_have_count(2)
    other.wait()
    other.until(lambda: other.said() == text)
    other.act("Regenerate")
    expect(chat.last.locator(".alternatives")).to_contain_text("2 of 2")


def test_alternatives_made_in_two_tabs_at_once_are_both_kept(chat: ChatPage) -> None:
    chat.ask("shared words")
    other = ChatPage(chat.page.context.new_page(), chat.url).open()
    other.wait()
    chat.act("Regenerate")
    other.act("Retry")
    expect(chat.last.locator(".alternatives")).to_contain_text("of 3")
    chat.page.reload()
    expect(chat.last.locator(".alternatives")).to_contain_text("of 3")
