"""What another site's page tries in a real browser: the model never runs, nothing is logged."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from media.browser import ARGUMENTS, HEADLESS, LAUNCH_TIMEOUT, chromium
from minivault.backends.echo import EchoBackend
from tests.live import DEADLINE, LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EVIL = "evil.test"  # means this machine, in this browser

# Every way in which a page can cause a request without being asked. `target` is the server.
ATTEMPTS = {
    "image": "new Image().src = target + '/generate?prompt=image'",
    "stylesheet": "link('stylesheet', '/generate?prompt=stylesheet')",
    "prefetch": "link('prefetch', '/generate?prompt=prefetch')",
    "preload": "link('preload', '/generate?prompt=preload').as = 'fetch'",
    "script": "element('script').src = target + '/generate?prompt=script'",
    "iframe": "element('iframe').src = target + '/generate?prompt=iframe'",
    "EventSource": "new EventSource(target + '/generate?prompt=eventsource')",
    "fetch": "fetch(target + '/generate?prompt=fetch').catch(no)",
    "fetch no-cors": "fetch(target + '/generate', {method: 'POST', mode: 'no-cors', body})",
    "fetch with JSON": "fetch(target + '/generate', {method: 'POST', headers, body}).catch(no)",
    "fetch that deletes": "fetch(target + '/generate/x', {method: 'DELETE'}).catch(no)",
    "beacon": "navigator.sendBeacon(target + '/generate', body)",
    "form": "form('post', '/generate', 'text/plain')",
    "form that reads": "form('get', '/generate', '')",
    "replay": "fetch(target + '/logs/records/1/replay', {method: 'POST', mode: 'no-cors'})",
    "log": "fetch(target + '/logs/records', {mode: 'no-cors'}).then((r) => window.leak = r.type)",
}
PAGE = """
<!doctype html><title>evil</title>
<script>
const target = new URLSearchParams(location.search).get('target');
const body = '{"prompt": "from a page"}';
const headers = {'Content-Type': 'application/json'};
const no = () => {};
const element = (name) => document.body.appendChild(document.createElement(name));
function link(rel, path) {
  return Object.assign(document.head.appendChild(document.createElement('link')),
                       {rel, href: target + path});
}
function form(method, path, enctype) {
  const made = Object.assign(element('form'), {method, action: target + path, enctype});
  made.target = element('iframe').name = `hidden ${method}`;
  made.innerHTML = '<input name="prompt" value="form">';
  made.submit();
}
</script><body>
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def site(folder: Path) -> Iterator[int]:
    """A web server on loopback that has nothing but a page; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def fooled(browser: Browser) -> Iterator[Browser]:
    """A browser for which every name under .test means this machine."""
    rules = "--host-resolver-rules=MAP *.test 127.0.0.1"
    made = browser.browser_type.launch(
        executable_path=chromium(HEADLESS), args=[*ARGUMENTS, rules], timeout=LAUNCH_TIMEOUT
    )
    yield made
    made.close()


class Watched(EchoBackend):
    """Notes every prompt that reached the model."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def count_tokens(self, prompt: str) -> int:
        self.ran.append(prompt)
        return super().count_tokens(prompt)


@pytest.fixture
def model() -> Watched:
    return Watched()


@pytest.fixture
def server(tmp_path: Path, model: Watched) -> Iterator[LiveServer]:
    with live_server(tmp_path, model) as running:
        yield running


@pytest.fixture
def evil_port(tmp_path: Path) -> Iterator[int]:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    with site(folder) as port:
        yield port


def refused(server: LiveServer, reason: str) -> int:
    name = f'minivault_requests_refused_total{{reason="{reason}"}} '
    lines = server.service.metrics.render().decode().splitlines()
    return next((int(float(line.removeprefix(name))) for line in lines if line.startswith(name)), 0)


def untouched(server: LiveServer, model: Watched) -> bool:
    return model.ran == [] and (not server.log.exists() or server.log.read_bytes() == b"")


def attempt_all(page: Page, server: LiveServer) -> None:
    """Returns when the server has refused them, and the browser has nothing under way.

    One of them may never come: a browser may put off what it is only hinted at, or find by itself
    that it must not.
    """
    begun: list[Request] = []
    over: list[Request] = []
    page.on("request", lambda request: begun.append(request))
    page.on("requestfinished", lambda request: over.append(request))
    page.on("requestfailed", lambda request: over.append(request))
    for code in ATTEMPTS.values():
        page.evaluate(f"() => {{ {code} }}")
    end = time.monotonic() + DEADLINE
    while refused(server, "cross_site") < len(ATTEMPTS) - 2 or len(over) < len(begun):
        assert time.monotonic() < end, "waited too long"
        page.wait_for_timeout(20)


@pytest.mark.parametrize("origin", [EVIL, "127.0.0.1"], ids=["another site", "another port"])
def test_nothing_that_another_page_does_reaches_the_model(
    origin: str, fooled: Browser, server: LiveServer, model: Watched, evil_port: int
) -> None:
    page = fooled.new_page()
    page.goto(f"http://{origin}:{evil_port}/index.html?target={server.url}")
    attempt_all(page, server)
    assert model.ran == []
    assert untouched(server, model)
    assert page.evaluate("window.leak") in (None, "opaque")
    page.close()


def test_a_name_that_is_pointed_here_reaches_nothing(
    fooled: Browser, server: LiveServer, model: Watched
) -> None:
    """DNS rebinding: to the browser the attacker's name and this server are one site."""
    page = fooled.new_page()
    for path in ("/", "/generate?prompt=rebound", "/logs/records", "/docs", "/health"):
        answer = page.goto(f"http://{EVIL}:{server.port}{path}")
        assert answer is not None
        assert answer.status == 400
        assert "MiniVault</title>" not in page.content()
    status = page.evaluate(
        """() => fetch('/generate', {method: 'POST', body: '{"prompt": "rebound"}',
             headers: {'Content-Type': 'application/json'}}).then((r) => r.status)"""
    )
    assert status == 400
    assert untouched(server, model)
    page.close()


def test_a_typed_in_address_does_not_generate_but_opens_the_log(
    fooled: Browser, server: LiveServer, model: Watched
) -> None:
    page = fooled.new_page()
    answer = page.goto(f"{server.url}/generate?prompt=typed")
    assert answer is not None
    assert answer.status == 403
    assert "open the page at /" in page.inner_text("body")
    answer = page.goto(f"{server.url}/logs")
    assert answer is not None
    assert answer.status == 200
    assert untouched(server, model)
    page.close()


def test_links_from_another_site_lead_to_the_pages_but_not_to_the_log(
    fooled: Browser, server: LiveServer, evil_port: int
) -> None:
    page = fooled.new_page()
    for path, status in [("/", 200), ("/docs", 200), ("/logs", 403), ("/generate?prompt=x", 403)]:
        page.goto(f"http://{EVIL}:{evil_port}/index.html?target={server.url}")
        with page.expect_navigation() as navigation:
            page.evaluate("(path) => { location.href = target + path; }", path)
        assert navigation.value is not None
        assert (path, navigation.value.status) == (path, status)
    page.close()


def test_our_own_page_may_ask(fooled: Browser, server: LiveServer, model: Watched) -> None:
    """The other verdict: the same calls, from the server's own page."""
    page = fooled.new_page()
    page.goto(server.url)
    status = page.evaluate(
        """() => fetch('/generate', {method: 'POST', body: '{"prompt": "own", "max_tokens": 2}',
             headers: {'Content-Type': 'application/json'}}).then((r) => r.status)"""
    )
    assert status == 200
    page.evaluate(
        """() => new Promise((done) => {
             const source = new EventSource('/generate?prompt=own+source&max_tokens=2');
             source.addEventListener('done', () => { source.close(); done(); });
           })"""
    )
    assert model.ran == ["own", "own source"]
    page.close()


def test_logging_in_works_where_browsers_send_no_fetch_metadata(
    fooled: Browser, tmp_path: Path
) -> None:
    """Over plain HTTP and another name the form's POST has only its Origin to show."""
    with live_server(tmp_path, api_key=["the-key"], allowed_host=["vault.test"]) as running:
        page = fooled.new_page()
        page.goto(f"http://vault.test:{running.port}/docs")
        expect(page).to_have_url(f"http://vault.test:{running.port}/login?next=%2Fdocs")
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Key").fill("the-key")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"http://vault.test:{running.port}/docs")
        expect(page.locator(".opblock").first).to_be_visible()
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert page.evaluate("document.cookie") == ""
        page.close()


def test_who_is_logged_in_may_come_by_a_link_from_another_site(
    fooled: Browser, tmp_path: Path, evil_port: int
) -> None:
    """A SameSite=Strict cookie does not come with the link, but with the reload that answers it."""
    with live_server(tmp_path, api_key=["the-key"]) as running:
        page = fooled.new_page()
        page.goto(f"{running.url}/login")
        page.get_by_label("Key").fill("the-key")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#prompt")).to_be_visible()
        page.goto(f"http://{EVIL}:{evil_port}/index.html?target={running.url}")
        page.evaluate("() => { location.href = target + '/'; }")
        expect(page).to_have_url(f"{running.url}/#new")  # the page itself adds what it shows
        expect(page.locator("#prompt")).to_be_visible()
        page.close()
