"""Keeps a client on this machine: whom else it would speak to is noted, and refused."""

from __future__ import annotations

import os
import sys

HERE = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name not in HERE:
        with open(os.environ["ELSEWHERE"], "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        raise ConnectionRefusedError(f"{name} is elsewhere")


sys.addaudithook(_watch)
