"""A Firefox that a test drives by WebDriver BiDi, which it speaks without a driver between."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_DEADLINE = 60.0  # seconds
ENTER = "\ue007"


class Firefox:
    """One tab. Expressions are JavaScript, evaluated in the page."""

    def __init__(self, port: int) -> None:
        self._socket = _WebSocket(port, "/session")
        self._number = 0
        self.call("session.new", capabilities={})
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def goto(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def value(self, expression: str) -> Any:
        """What an expression gives, or the promise of it; a text, a number, true, false or None."""
        answer = self.call(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until it holds."""
        end = time.monotonic() + _DEADLINE
        while not self.value(expression):
            if time.monotonic() > end:
                raise AssertionError(f"{expression} does not come true: {self.text('body')}")
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Of the last one that matches."""
        found = self.value(f"[...document.querySelectorAll({selector!r})].at(-1)?.textContent")
        return str(found or "")

    def type(self, selector: str, text: str) -> None:
        """Presses these keys in a field."""
        self.value(f"document.querySelector({selector!r}).focus()")
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": keys}
        self.call("input.performActions", context=self._tab, actions=[source])

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({selector!r}).click()")

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send({"id": self._number, "method": method, "params": parameters})
        while (answer := self._socket.receive()).get("id") != self._number:
            pass  # an event; nothing listens
        assert answer["type"] == "success", answer
        result: dict[str, Any] = answer["result"]
        return result


@contextmanager
def firefox(program: str, folder: Path) -> Iterator[Firefox]:
    """A new one with a profile of its own below `folder`; it ends with the block."""
    profile = folder / "profile"
    profile.mkdir()
    command = [program, "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0", "about:blank"]
    environment = os.environ | {"HOME": str(folder), "MOZ_DISABLE_AUTO_SAFE_MODE": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr
        try:
            browser = Firefox(_port(process.stderr))
            yield browser
            browser.close()
        finally:
            process.terminate()


def _port(said: IO[str]) -> int:
    for line in said:
        if found := re.search(r"BiDi listening on ws://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("Firefox ended before it could be spoken to")


class _WebSocket:
    """The client's side of RFC 6455, for texts of JSON alone."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in self._file.readline()
        while self._file.readline().strip():
            pass

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        mask = os.urandom(4)
        head = b"\x81" + (
            struct.pack("!B", 0x80 | len(data))
            if len(data) < 126
            else struct.pack("!BH", 0x80 | 126, len(data))
        )
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._socket.sendall(head + mask + masked)

    def receive(self) -> dict[str, Any]:
        text = b""
        while True:
            kind, length = self._file.read(2)
            if length >= 126:
                form = "!H" if length == 126 else "!Q"
                (length,) = struct.unpack(form, self._file.read(struct.calcsize(form)))
            text += self._file.read(length)
            if kind & 0x80:  # the last part of a message
                answer: dict[str, Any] = json.loads(text)
                return answer
