"""The controls: made from the schema, kept, and what they ask of the server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from minivault.backends.echo import EchoBackend
from minivault.schemas import Parameters
from tests.browser.backends import Recommends
from tests.browser.chat_page import ENDLESS, ChatPage
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PRESETS = {"precise": 0.3, "balanced": 0.8, "creative": 1.1}


def params(server: LiveServer) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(server.log.read_text().splitlines()[-1])
    return {**record["params"], "seed": record["seed"]}


def test_every_parameter_of_the_schema_has_a_control(chat: ChatPage) -> None:
    for name in Parameters.model_fields:
        expect(chat.parameter(name)).to_be_visible()
    assert chat.parameter("temperature").get_attribute("max") == "2"
    assert chat.parameter("max_tokens").get_attribute("max") == "4096"


def test_presets_set_the_parameters(chat: ChatPage) -> None:
    for name, temperature in PRESETS.items():
        chat.parameter("temperature").fill("0.55")
        button = chat.page.get_by_role("button", name=name)
        expect(button).to_have_attribute("aria-pressed", "false")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(chat.parameter("temperature")).to_have_value(str(temperature))


def test_what_the_makers_recommend_holds_until_something_is_chosen(
    page: Page, tmp_path: Path
) -> None:
    """And what was chosen holds with every model, also where it is the schema's own value."""
    with live_server(tmp_path, Recommends()) as server:
        chat = ChatPage(page, server.url).open()
        temperature = chat.parameter("temperature")
        expect(temperature).to_have_value("0.2")
        expect(chat.parameter("top_k")).to_have_value("50")
        balanced = page.get_by_role("button", name="balanced")
        expect(balanced).to_have_attribute("aria-pressed", "true")
        chat.ask("one two three")
        asked = params(server)
        assert [asked["temperature"], asked["top_p"], asked["top_k"]] == [0.2, 0.9, 50]
        page.get_by_role("button", name="precise").click()
        expect(temperature).to_have_value("0.2")
        temperature.fill("0.8")
        page.reload()
        expect(page.locator("#model")).to_have_attribute("data-status", "ready")
        expect(temperature).to_have_value("0.8")
        chat.ask("one two three")
        assert params(server)["temperature"] == 0.8
        page.get_by_role("button", name="Reset all").click()
        expect(temperature).to_have_value("0.2")


def test_what_is_set_is_sent_and_kept(chat: ChatPage, echo: LiveServer) -> None:
    chat.parameter("max_tokens").fill("7")
    chat.page.get_by_label("Temperature, slider").fill("1.5")
    chat.parameter("stop").fill("never\\n\nnor this")
    chat.ask("some words to say")
    asked = params(echo)
    assert asked["max_tokens"] == 7
    assert asked["temperature"] == 1.5
    assert asked["stop"] == ["never\n", "nor this"]
    chat.page.reload()
    expect(chat.parameter("stop")).to_have_value("never\\n\nnor this")
    chat.page.get_by_role("button", name="Reset all").click()
    expect(chat.parameter("max_tokens")).to_have_value("320")


def test_a_stop_string_ends_the_text_before_it(chat: ChatPage) -> None:
    chat.parameter("stop").fill("crow")
    assert "crow" not in chat.ask("the fox and the crow")


def test_the_seed_is_shown_and_can_be_locked(chat: ChatPage, echo: LiveServer) -> None:
    chat.ask("one two three four five")
    seed = chat.seed()
    expect(chat.parameter("seed")).to_have_value(str(seed))
    chat.page.get_by_role("button", name="Lock the seed").click()
    chat.ask("one two three four five")
    assert params(echo)["seed"] == seed
    chat.page.get_by_role("button", name="Lock the seed").click()
    chat.ask("one two three four five")
    assert params(echo)["seed"] != seed


def test_a_value_out_of_bounds_is_not_sent(chat: ChatPage) -> None:
    chat.parameter("temperature").fill("9")
    chat.send("hello")
    assert chat.page.locator("#parameters").evaluate("form => form.checkValidity()") is False
    expect(chat.exchanges).to_have_count(0)
    expect(chat.prompt).to_have_value("hello")


def test_the_gauge_estimates_then_knows(chat: ChatPage) -> None:
    chat.prompt.fill("x" * 400)
    expect(chat.page.locator("#gauge")).to_contain_text("≈ 100 of 4,096 tokens")
    chat.prompt.fill("")
    chat.parameter("max_tokens").fill("5")
    chat.ask("four more once")
    gauge = chat.page.locator("#gauge")
    expect(gauge).to_have_text("8 of 4,096 tokens")
    chat.prompt.fill("four " * 20)  # the model's tokens had five characters each
    expect(gauge).to_have_text("≈ 20 of 4,096 tokens")
    chat.page.get_by_label("Continue the text above").check()
    expect(gauge).to_have_text("≈ 28 of 4,096 tokens")


def test_who_waits_sees_the_place_in_the_queue(page: Page, tmp_path: Path) -> None:
    endless = EchoBackend(delay=0.02, context_length=10**6)
    with live_server(tmp_path, endless, max_running=1) as server:
        first = ChatPage(page, server.url).open()
        first.parameter("max_tokens").fill(ENDLESS)
        first.send("the first one takes long")
        first.wait_for_text(5)
        second = ChatPage(page.context.new_page(), server.url).open("#new")
        second.parameter("max_tokens").fill("3")
        second.send("the second one waits")
        expect(second.last.locator(".facts")).to_contain_text("waiting, place 1")
        expect(second.page).to_have_title(re.compile("^Waiting…"))
        first.page.bring_to_front()
        first.stop_button.click()
        second.wait()


def test_live_figures_are_shown_while_it_writes(slow_chat: ChatPage) -> None:
    slow_chat.send("a b c d e f")
    slow_chat.wait_for_text(30)
    facts = slow_chat.last.locator(".facts")
    expect(facts).to_contain_text("tokens/s")
    expect(facts).to_contain_text("first after")
    slow_chat.stop_button.click()
    slow_chat.wait("stopped")
