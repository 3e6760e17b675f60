"""What a chat model says: its Markdown as what it means, its code to copy, its thoughts folded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import assert_accessible
from tests.browser.backends import Tells
from tests.browser.chat_page import ChatPage
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = 'def wide():\n    return "' + "long " * 60 + '"'
EVERYTHING = f"""### Three ways

Some **bold** text,
a second line.

1. first
   - nested
2. second [link](https://example.org/) and [trap](javascript:alert(1))

```python
{CODE}
```

# Then a table

| name | size |
|---|--:|
| a | 1 |
| b | 2 |

> quoted <b>not bold</b> <img src=x onerror=alert(1)>
"""
LONG = "First paragraph.\n\n" + "".join(f"- item {n} with `code`\n" for n in range(60)) + "\nEnd."
ANSWERS = {
    "everything": [EVERYTHING[i : i + 7] for i in range(0, len(EVERYTHING), 7)],
    "long": [LONG[i : i + 9] for i in range(0, len(LONG), 9)],
    "think": ["<think>\nLet me ", "see.\n", "</think>", "\n\nIt is **four**."],
    "cut": ["```js\nlet a = 1;\n", "let b ="],
}


@pytest.fixture(scope="module")
def model() -> Tells:
    return Tells(ANSWERS, delay=0.005)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Tells) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("tells"), model) as server:
        yield server


def test_markdown_is_what_it_means_and_copied_as_it_came(page: Page, server: LiveServer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat = ChatPage(page, server.url).open(formatted=True)
    chat.ask("everything")
    said = chat.last.locator(".formatted")
    expect(said.get_by_role("heading")).to_have_text(["Three ways", "Then a table"])
    expect(said.locator("ol > li")).to_have_count(2)
    expect(said.locator("ol ul li")).to_have_text("nested")
    expect(said.locator("td")).to_have_text(["a", "1", "b", "2"])
    expect(said.locator("blockquote")).to_have_text(
        "quoted <b>not bold</b> <img src=x onerror=alert(1)>"
    )
    expect(said.locator("a")).to_have_attribute("href", "https://example.org/")
    expect(said.locator("a")).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(said.locator("pre")).to_have_text(CODE)
    assert said.locator("pre").evaluate("pre => pre.scrollWidth > pre.clientWidth")
    assert page.locator(".formatted img").count() == 0
    said.get_by_role("button", name="Copy the code").click()
    chat.until(lambda: page.evaluate("navigator.clipboard.readText()") == CODE)
    chat.act("Copy")
    chat.until(lambda: page.evaluate("navigator.clipboard.readText()") == EVERYTHING)
    assert_accessible(page)
    page.reload()
    expect(said.locator("td")).to_have_text(["a", "1", "b", "2"])
    page.get_by_label("Format answers").uncheck()
    expect(chat.last.locator(".formatted")).to_have_count(0)
    assert chat.said() == EVERYTHING
    page.reload()
    chat.wait()
    assert chat.said() == EVERYTHING
    page.get_by_label("Format answers").check()
    expect(said.locator("pre")).to_have_text(CODE)
    assert chat.violations() == []


def test_while_it_grows_only_its_end_is_made_anew(
    page: Page, server: LiveServer, model: Tells
) -> None:
    model.halts.set()
    chat = ChatPage(page, server.url).open(formatted=True)
    chat.send("long")
    expect(chat.last.locator(".formatted li").nth(1)).to_be_attached()
    page.evaluate(
        "() => { window.made = 0; new MutationObserver(list => list.forEach(each =>"
        " (window.made += each.addedNodes.length)))"
        ".observe(document.querySelector('.formatted'), { childList: true, subtree: true }); }"
    )
    first = chat.last.locator(".formatted > p").first.element_handle()
    model.halts.clear()
    chat.wait()
    expect(chat.last.locator(".formatted li")).to_have_count(60)
    expect(chat.last.locator(".formatted > p").last).to_have_text("End.")
    assert first.evaluate("node => node.isConnected")
    pieces = len(ANSWERS["long"])
    assert 40 < page.evaluate("window.made") < 2.5 * pieces


def test_a_thought_is_folded_away(page: Page, server: LiveServer) -> None:
    chat = ChatPage(page, server.url).open(formatted=True)
    chat.ask("think")
    thought = chat.last.locator(".thought")
    expect(thought.locator("summary")).to_have_text("Thought: 3 words")
    expect(thought.locator("p")).to_be_hidden()
    thought.locator("summary").click()
    expect(thought.locator("p")).to_have_text("Let me see.")
    expect(chat.last.locator(".formatted > p strong")).to_have_text("four")


def test_an_answer_that_was_cut_amid_code_is_read_as_one(page: Page, server: LiveServer) -> None:
    chat = ChatPage(page, server.url).open(formatted=True)
    chat.ask("cut")
    chat.act("Continue")
    expect(chat.exchanges).to_have_count(2)
    chat.wait()
    shown = page.locator(".formatted pre:visible")
    expect(shown).to_have_text("let a = 1;\nlet b =" + "".join(ANSWERS["cut"]))
    expect(page.locator(".prompt:visible")).to_have_text("cut")
