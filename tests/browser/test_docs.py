"""The API page: drawn from our own files, with a form that really asks; nothing leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.axe import assert_accessible
from tests.live import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def docs(page: Page, echo: LiveServer) -> Iterator[Page]:
    """The page, opened; at the end: no request went elsewhere, and no policy was violated."""
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(f"{echo.url}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    yield page
    assert page.evaluate("window.policyViolations") == []
    assert failed == []
    assert asked
    assert [url for url in asked if not url.startswith((echo.url + "/", "data:"))] == []


def opened(page: Page, operation: str) -> Locator:
    """An operation's block, unfolded."""
    block = page.locator(f"#operations-{operation}")
    block.locator(".opblock-summary-control").click()
    expect(block.get_by_role("button", name="Execute")).to_be_visible()
    return block


def test_every_operation_is_listed_in_the_colours_of_the_theme(
    docs: Page, echo: LiveServer
) -> None:
    paths = docs.request.get(f"{echo.url}/openapi.json").json()["paths"]
    expect(docs.locator(".opblock")).to_have_count(sum(len(path) for path in paths.values()))
    expect(docs.get_by_text("GenerateRequest").first).to_be_visible()
    docs.emulate_media(color_scheme="dark")
    expect(docs.locator("html.dark-mode")).to_be_attached()
    assert docs.evaluate("document.getAnimations().length") == 0
    docs.emulate_media(color_scheme="light")
    expect(docs.locator("html.dark-mode")).not_to_be_attached()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_but_how_swagger_ui_nests_its_buttons(docs: Page, scheme: str) -> None:
    docs.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    opened(docs, "generations-generate")
    assert_accessible(docs, besides=["nested-interactive", "heading-order"], themes=False)


def test_try_it_out_generates_in_the_chosen_form_and_is_logged(
    docs: Page, echo: LiveServer
) -> None:
    block = opened(docs, "generations-generate")
    forms = block.get_by_label("Media Type").first
    answer = block.locator(".live-responses-table .highlight-code code").first
    expect(forms).to_have_value("application/json")
    for form, sign in [
        ("text/plain", "Once upon"),
        ("application/json", "finish_reason"),
        ("text/event-stream", "event: done"),
    ]:
        forms.select_option(form)
        block.get_by_role("button", name="Execute").click()
        expect(answer).to_contain_text(sign)
        block.get_by_role("button", name="Clear").click()
    records = [json.loads(line) for line in echo.log.read_text().splitlines()[-3:]]
    assert [record["client"] for record in records] == ["text", "json", "sse"]
    assert {record["prompt"] for record in records} == {"Once upon a time"}


def test_a_wrong_value_shows_the_problem(docs: Page) -> None:
    block = opened(docs, "generations-generate")
    block.locator("textarea.body-param__text").fill('{"prompt": "x", "top_k": -1}')
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table").first).to_contain_text("422")
    expect(block.locator(".live-responses-table").first).to_contain_text("top_k")
