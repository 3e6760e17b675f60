"""What a prompt goes through on its way down, and a token on its way up.

`python -m benchmarks.hops`: a real server answers some requests for an event stream, and each
function of MiniVault that its threads enter is noted: down, from a request's first byte to the
engine's queue; up, from a token's draw to the loop, and there from one write to the socket to the
next. A function counts once on each way; `--names` lists them.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import minivault
from minivault.app import create_app
from minivault.server import Server, listen
from minivault.service import Service
from minivault.settings import Settings

_PACKAGE = os.path.dirname(minivault.__file__) + os.sep
_BODY = b'{"prompt": "Once upon a time there was", "max_tokens": 40, "seed": 1, "temperature": 1}'
_REQUEST = (
    b"POST /generate HTTP/1.1\r\nHost: localhost:%d\r\nAccept: text/event-stream\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)

_REQUESTS = 5

# Where the ways begin and end, by file and function.
_FIRST_BYTE = ("h11_impl.py", "data_received")
_QUEUED = ("engine/engine.py", "add")
_DRAWN = ("output_processor.py", "_drawn")
_HANDED_ON = ("base_events.py", "call_soon_threadsafe")
_WRITTEN = ("selector_events.py", "write")


@dataclass(frozen=True, slots=True)
class Call:
    """A function that a thread entered."""

    thread: str
    file: str
    name: str

    def is_at(self, place: tuple[str, str]) -> bool:
        file, name = place
        return self.file.endswith(file) and self.name.rpartition(".")[2] == name

    def __str__(self) -> str:
        return f"{self.file.removeprefix(_PACKAGE)}: {self.name.replace('<locals>.', '')}"


def noted() -> list[list[Call]]:
    """All calls in the threads of a server, for each of the requests that it answers."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            calls.append(Call(threading.current_thread().name, code.co_filename, code.co_qualname))

    threading.setprofile(note)
    try:
        with tempfile.TemporaryDirectory() as logs, redirect_stdout(sys.stderr):
            settings = Settings(model="storyteller", port=0, logs_dir=Path(logs), offline=True)
            listener, service = listen(settings), Service.opened(settings)
            server = Server(create_app(settings, service), service)
            loop = threading.Thread(target=server.run, args=([listener],), name="loop")
            loop.start()
            while service.stage.status == "loading":
                time.sleep(0.01)
            answered = []
            for _ in range(_REQUESTS):
                calls.clear()
                _ask(listener.getsockname()[1])
                answered.append(calls.copy())
            server.should_exit = True
            loop.join()
    finally:
        threading.setprofile(None)
    return answered


def _ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_REQUEST % (port, len(_BODY), _BODY))
        received = b""
        while b"event: done" not in received:
            received += connection.recv(65536)


def down(answered: list[list[Call]]) -> list[str]:
    """Functions from the first byte to the engine's queue.

    Of the request that entered the fewest: what comes by the clock may fall into any of them.
    """
    ways = []
    for calls in answered:
        first = _places(calls, _FIRST_BYTE)[0]
        ways.append(_functions(calls[first : _places(calls, _QUEUED)[0] + 1]))
    return min(ways, key=len)


def up(answered: list[list[Call]]) -> list[str]:
    """Functions from a draw to the socket, of the token with the median number of them."""
    found = []
    for calls in answered:
        engine = [each for each in calls if each.thread == "engine"]
        loop = [each for each in calls if each.thread == "loop"]
        handed_on = _places(engine, _HANDED_ON)
        written = _places(loop, _WRITTEN)
        turns = [loop[begin:end] for begin, end in zip(written, written[1:], strict=False)]
        # The first and the last tokens come with the head, the start and the record.
        for drawn, turn in zip(_places(engine, _DRAWN)[4:], turns[4:-4], strict=False):
            end = next((place for place in handed_on if place > drawn), None)
            found.append(_functions([*engine[drawn:end], *turn]))
    return sorted(found, key=len)[len(found) // 2]


def _places(calls: list[Call], place: tuple[str, str]) -> list[int]:
    return [index for index, each in enumerate(calls) if each.is_at(place)]


def _functions(calls: list[Call]) -> list[str]:
    """The package's own, each once; a lambda or a comprehension is part of what holds it."""
    own = [each for each in calls if each.file.startswith(_PACKAGE) and each.name[-1] != ">"]
    return list(dict.fromkeys(map(str, own)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hops", description=__doc__)
    parser.add_argument("--names", action="store_true", help="list the functions")
    asked = parser.parse_args(arguments)
    answered = noted()
    for way in (down, up):
        names = way(answered)
        files = {each.partition(":")[0] for each in names}
        print(f"{way.__name__:5}{len(names)} functions in {len(files)} files")
        if asked.names:
            print(*(f"  {each}" for each in names), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
