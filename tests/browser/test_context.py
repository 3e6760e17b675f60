"""What is really sent: an answer that stays open, turns or text, what a full context leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from minivault.backends.echo import EchoBackend
from tests.browser.backends import Chatty, LateChatty
from tests.browser.chat_page import ChatPage
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def last(server: LiveServer) -> dict[str, Any]:
    return server.records()[-1]


def test_a_continued_answer_stays_open(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Chatty()) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("3")
        begun = chat.ask("Tell me of the sea")
        chat.act("Continue")
        expect(chat.exchanges).to_have_count(2)
        chat.wait()
        assert last(server)["messages"] == [user("Tell me of the sea"), assistant(begun)]
        assert last(server)["prompt"] == f"<user> Tell me of the sea </user> <assistant> {begun}"
        more = chat.said()
        chat.ask("And then?")
        assert last(server)["messages"][1] == assistant(begun + more)
        assert last(server)["prompt"].endswith("</assistant> <user> And then? </user> <assistant>")


def test_what_is_sent_while_the_model_loads_waits_until_it_is_known_what_it_takes(
    page: Page, tmp_path: Path
) -> None:
    backend = LateChatty()
    with live_server(tmp_path, backend, ready=False) as server:
        chat = ChatPage(page, server.url)
        page.goto(server.url)
        expect(page.locator("#model")).to_have_attribute("data-status", "loading")
        expect(page.locator("#explanation")).to_contain_text("not loaded yet")
        expect(page.locator("#library li")).to_have_count(0)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        chat.send("hi")
        expect(chat.last.locator(".facts")).to_contain_text("waiting: the model is being loaded")
        page.reload()
        expect(chat.last.locator(".facts")).to_contain_text("waiting: the model is being loaded")
        assert [url for url in asked if "/generate" in url] == []
        backend.loaded.set()
        chat.wait()
        assert last(server)["messages"] == [user("hi")]
        assert last(server)["params"]["max_tokens_requested"] == 4096


def test_what_waits_for_the_model_can_be_given_up(page: Page, tmp_path: Path) -> None:
    backend = LateChatty()
    with live_server(tmp_path, backend, ready=False) as server:
        chat = ChatPage(page, server.url)
        page.goto(server.url)
        expect(page.locator("#model")).to_have_attribute("data-status", "loading")
        chat.send("hi")
        chat.stop_button.click()
        chat.wait("stopped")
        backend.loaded.set()
        expect(page.locator("#model")).to_have_attribute("data-status", "ready")
        chat.ask("hello")
        assert [record["messages"][-1] for record in server.records()] == [user("hello")]


def test_a_system_prompt_belongs_to_its_conversation_and_is_recorded(
    page: Page, tmp_path: Path
) -> None:
    with live_server(tmp_path, Chatty()) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("3")
        system = page.get_by_label("System prompt")
        system.fill("Answer in rhyme.")
        chat.ask("Hello")
        told = {"role": "system", "content": "Answer in rhyme."}
        assert last(server)["messages"] == [told, user("Hello")]
        assert last(server)["prompt"].startswith("<system> Answer in rhyme. </system> <user>")
        chat.act("Continue")
        expect(chat.exchanges).to_have_count(2)
        chat.wait()
        assert last(server)["messages"][0] == told
        chat.begin()
        expect(system).to_have_value("")
        chat.ask("And you?")
        assert last(server)["messages"] == [user("And you?")]
        page.get_by_role("link", name="Hello").click()
        expect(system).to_have_value("Answer in rhyme.")
        page.reload()
        expect(system).to_have_value("Answer in rhyme.")


def test_a_full_conversation_goes_on_without_its_oldest_turns(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, Chatty(context_length=70)) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("5")
        answers = [chat.ask(f"question number {number} of many") for number in range(4)]
        chat.send("and a long one " * 4)
        chat.wait("refused")
        problem = chat.last.get_by_role("alert")
        expect(problem).to_contain_text("This conversation is full: 75 of 70 tokens.")
        expect(page.locator("#gauge")).to_contain_text("tokens")
        chat.act("Go on without the oldest turns")
        chat.wait()
        expect(chat.last.locator(".facts")).to_contain_text("without the oldest")
        *kept, asked = last(server)["messages"]
        assert asked == user("and a long one " * 4)
        assert kept == [user("question number 3 of many"), assistant(answers[3])]
        text = chat.ask("one more")
        assert last(server)["messages"][0] == user("question number 3 of many")
        assert text == last(server)["response"]


def test_a_prompt_that_finds_no_room_gets_a_conversation_of_its_own(
    page: Page, tmp_path: Path
) -> None:
    with live_server(tmp_path, Chatty(context_length=40)) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("9")
        chat.ask("the first of all questions in here")
        chat.send("and a long one " * 5)
        chat.wait("refused")
        chat.act("New conversation with this prompt")
        expect(chat.exchanges).to_have_count(1)
        chat.wait()
        assert last(server)["messages"] == [user("and a long one " * 5)]
        expect(page.locator("#conversation-list bdi")).to_have_count(2)
        chat.begin()
        chat.send("far too long " * 20)
        chat.wait("refused")
        expect(chat.last.get_by_role("alert")).to_contain_text("This prompt is too long")
        expect(chat.last.get_by_role("alert").get_by_role("button")).to_have_count(0)


def test_continue_slides_the_window_of_a_text_that_fills_the_context(
    page: Page, tmp_path: Path
) -> None:
    """The wall is never reached; what was sent each time is what the page says, and in the log."""
    with live_server(tmp_path, EchoBackend(context_length=64)) as server:
        chat = ChatPage(page, server.url).open()
        chat.parameter("max_tokens").fill("16")
        chat.parameter("end_at_sentence").uncheck()
        story = PROMPT = "It was a dark night. The fox came. "
        story += chat.ask(PROMPT)
        for step in range(2, 8):
            chat.act("Continue")
            expect(chat.exchanges).to_have_count(step)
            chat.wait()
            record = last(server)
            assert record["usage"]["completion_tokens"] == 16
            assert story.endswith(record["prompt"])
            story += record["response"]
        cut = len(story) - len(record["prompt"]) - len(record["response"])
        assert cut > 0
        expect(chat.last.locator(".facts")).to_contain_text(f"without the oldest {cut} characters")
        chat.page.get_by_label("Continue the text above").check()
        chat.send("many words " * 30)
        chat.wait("refused")
        chat.act("Go on without the oldest part")
        chat.wait()
        assert last(server)["prompt"].endswith("many words " * 30)


def test_the_meter_warns_before_the_context_is_full(page: Page, tmp_path: Path) -> None:
    with live_server(tmp_path, EchoBackend(context_length=100)) as server:
        chat = ChatPage(page, server.url).open()
        gauge = page.locator("#gauge")
        chat.prompt.fill("x" * 300)
        expect(gauge).to_have_text("≈ 75 of 100 tokens")
        chat.prompt.fill("x" * 380)
        expect(gauge).to_have_text("≈ 95 of 100 tokens: nearly full")
        chat.prompt.fill("x" * 4000)
        expect(gauge).to_have_text("≈ 1,000 of 100 tokens: full")
        expect(gauge).to_have_attribute("data-state", "full")
