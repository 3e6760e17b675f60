"""Records the README's film: `python -m media.demo`.

An answer streams in, the server is killed, started again, and the same text goes on; the log
verifies, a byte of it is changed, and that is seen. All of it is real: the page, the shell, the
model. Only time is not: the server runs for a moment and rests while a frame is taken, so that
what takes a fraction of a second can be watched.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from media.browser import launch
from media.film import COLUMNS, PAGE, Film
from media.terminal import Terminal

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "media" / "demo.webp"
PROMPT = "Give three tips for a good night's sleep, as a Markdown list with bold words."
CUT = 130  # characters of the answer that come before the kill
WAS = b"a cool room"  # what is changed by a byte
STEP = 8  # characters of the answer per frame
TYPED = 7  # characters of a person per frame


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the film of the README.")
    parser.add_argument("--file", type=Path, default=FILE)
    file: Path = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        _terminal(Path(folder)) as terminal,
        sync_playwright() as playwright,
        launch(playwright) as browser,
    ):
        expect.set_options(timeout=60_000)
        context = browser.new_context(viewport=PAGE, color_scheme="light")
        context.set_default_timeout(60_000)
        page = context.new_page()
        scene = Scene(page, terminal, Film(context, page, terminal), Path(folder))
        scene.prepare()
        scene.stream()
        scene.kill()
        scene.go_on()
        scene.verify()
        scene.tamper()
        scene.replay()
        scene.film.develop(file)
        print(f"{file}: {scene.film.seconds:.1f} s, {file.stat().st_size / 1e6:.2f} MB")


@contextmanager
def _terminal(folder: Path) -> Iterator[Terminal]:
    (folder / "models").symlink_to(ROOT / "models")
    terminal = Terminal(folder, columns=COLUMNS)
    try:
        yield terminal
    finally:
        terminal.close()


class Scene:
    """What happens in the film, in its order."""

    def __init__(self, page: Page, terminal: Terminal, film: Film, folder: Path) -> None:
        self.page = page
        self.terminal = terminal
        self.film = film
        self.log = folder / "logs" / "log.jsonl"
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.serve = f"minivault serve --model smollm2 --offline --port {port} &"

    def prepare(self) -> None:
        """A server, and the page with its controls as they are wanted."""
        self._say(self.serve, filmed=False)
        self.terminal.wait_for("ready")
        self.page.add_init_script(
            "const now = performance.now.bind(performance); window.rested = 0;"
            "performance.now = () => now() - window.rested;"
            "localStorage.setItem('minivault.panel.conversations', 'false');"
            "localStorage.setItem('minivault.controls', JSON.stringify("
            "{ values: { temperature: 0, seed: 3 } }));"
        )
        self.page.goto(self.address)
        expect(self.page.locator("#model")).to_have_attribute("data-status", "ready")

    def stream(self) -> None:
        self.film.caption("A language model on your own machine")
        self.film.roll(0.8)
        self.page.focus("#prompt")
        for start in range(0, len(PROMPT), TYPED):
            self.page.keyboard.insert_text(PROMPT[start : start + TYPED])
            self.film.frame()
        self.film.roll(0.3)
        self.terminal.rest()
        self.page.press("#prompt", "Enter")
        self.film.caption("The answer streams in …")
        self._until(lambda: len(self._text()) > CUT)

    def kill(self) -> None:
        self.film.caption("… and the server is killed, in the middle of a sentence")
        self._say("kill -9 %1")
        expect(self.page.locator(".facts")).to_contain_text("connection lost")
        self.film.roll(0.9)

    def go_on(self) -> None:
        self.film.caption("It is started again …")
        before = len(self.terminal.said)
        with self._uncounted():
            self._say(self.serve)
            self.film.roll(0.3)
            self.terminal.wait_for("ready", after=before)
        self.film.caption("… and the same text goes on, where it was cut")
        self._until(lambda: self._state() != "open")
        self.film.roll(0.8)

    def verify(self) -> None:
        self.terminal.go_on()
        self.film.caption("The vault has kept it. Replay makes it again: the same, byte for byte")
        self.page.locator(".receipt").click()
        self.page.locator("#replay").click()
        expect(self.page.locator(".replay")).to_contain_text("The same")
        self.film.roll(1.7)
        self.page.locator("#verify").click()
        expect(self.page.locator("#chain-state")).to_contain_text("Whole")
        self.film.caption("Verify: each line holds the hash of the one before; none was changed")
        self.film.roll(1.6)

    def tamper(self) -> None:
        self.film.caption("One byte of it is changed …")
        place = self.log.read_bytes().rindex(WAS, 0, self._begin_of(3)) + len(b"a ")
        write = f"dd of=logs/log.jsonl bs=1 seek={place} conv=notrunc status=none"
        self._say(f"printf p | {write}")
        self.film.roll(0.4)
        self.page.locator("#verify").click()
        expect(self.page.locator("#chain-state")).to_contain_text("Broken")
        self.film.caption("… and the log says where")
        self.film.roll(1.6)

    def replay(self) -> None:
        self.film.caption("… and Replay says what the model wrote: a cool room, not a pool room")
        self.page.reload()
        self.page.locator("#replay").click()
        expect(self.page.locator(".replay del")).to_be_visible()
        self.page.locator(".replay del").evaluate("e => e.scrollIntoView({ block: 'center' })")
        self.film.roll(2.6)

    def _say(self, command: str, *, filmed: bool = True) -> None:
        if filmed:
            self.terminal.type("\n")  # a prompt below what the server has said
            time.sleep(0.1)
        for start in range(0, len(command), TYPED):
            self.terminal.type(command[start : start + TYPED])
            if filmed:
                time.sleep(0.02)  # the shell's echo
                self.film.frame()
        self.terminal.type("\n")
        if filmed:
            self.film.roll(0.3)

    def _until(self, condition: Callable[[], bool]) -> None:
        """Lets the server say a few characters for every frame."""
        while not condition():
            enough = len(self._text()) + STEP
            self.terminal.go_on()
            while len(self._text()) < enough and not condition():
                time.sleep(0.001)
            self.terminal.rest()
            with self._uncounted():
                self.film.frame()

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Time that the page does not count when it says how fast the answer comes."""
        began = time.monotonic()
        yield
        self.page.evaluate("ms => { window.rested += ms; }", 1000 * (time.monotonic() - began))

    def _begin_of(self, line: int) -> int:
        """Where it begins in the log, in bytes."""
        return sum(map(len, self.log.read_bytes().splitlines(keepends=True)[: line - 1]))

    def _text(self) -> str:
        return self.page.locator(".said").last.text_content() or ""

    def _state(self) -> str | None:
        return self.page.locator(".exchange").get_attribute("data-state")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
