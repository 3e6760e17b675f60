"""What comes into the prompt from elsewhere, and the models that could be asked instead."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

GIVE = """([kind, files]) => {
  const data = new DataTransfer();
  const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  for (const [name, text] of files) data.items.add(new File([bytes(text)], name));
  const make = kind === "paste" ? ClipboardEvent : DragEvent;
  const field = kind === "paste" ? "clipboardData" : "dataTransfer";
  const event = new make(kind, { [field]: data, bubbles: true, cancelable: true });
  document.querySelector("#prompt").dispatchEvent(event);
}"""


def give(chat: ChatPage, kind: str, *files: tuple[str, bytes]) -> None:
    chat.page.evaluate(GIVE, [kind, [[name, content.decode("latin-1")] for name, content in files]])


def test_text_files_go_into_the_prompt_and_others_are_refused_in_words(chat: ChatPage) -> None:
    told = chat.page.locator("#announcement")
    give(chat, "drop", ("a.txt", "héllo\n".encode()), ("b.txt", b"world\n"))
    expect(chat.prompt).to_have_value("héllo\nworld\n")
    expect(told).to_have_text("a.txt: 6 characters; b.txt: 6 characters")
    give(chat, "paste", ("c.py", b"x = 1"))
    expect(chat.prompt).to_have_value("héllo\nworld\nx = 1")
    give(chat, "drop", ("p.png", b"\x89PNG\x00\x01"), ("big.txt", b"a" * (2**20 + 1)))
    expect(told).to_have_text("p.png is no text in UTF-8; big.txt is 1.0 MiB; at most 1.0 MiB fit")
    expect(chat.prompt).to_have_value("héllo\nworld\nx = 1")
    chat.page.goto(f"{chat.url}/?q=Tell+me+%26+more")
    expect(chat.prompt).to_have_value("Tell me & more")
    expect(chat.prompt).to_be_focused()
    assert "q=" not in chat.page.url


def test_the_models_name_opens_the_list_of_models(chat: ChatPage) -> None:
    for path in ("/", "/logs", "/docs"):
        chat.page.goto(f"{chat.url}{path}")
        chat.page.locator("#model").click()
        dialog = chat.page.get_by_role("dialog", name="Models on this machine")
        expect(dialog.locator("li").filter(has_text="storyteller")).to_contain_text(
            "minivault serve --model storyteller"
        )
        expect(dialog.locator("li.serves")).to_have_text("echoserves now")
        chat.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
