"""A server of a chat model and a request for it, as what measures conversations needs them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minivault.bench.clients import http_request
from minivault.bench.process import ServerProcess, server


@contextmanager
def chat_server(
    model: Path, threads: int, *options: str, module: str = "minivault"
) -> Iterator[ServerProcess]:
    """`minivault serve`, or a module that is like it, with a log of its own."""
    serve = ["minivault", "serve"] if module == "minivault" else [module]
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", *serve, "--port", "0", "--offline", "--logs-dir", logs]
        command += ["--model", str(model), "--threads", str(threads), *options]
        with server(command) as process:
            yield process


def chat_request(
    messages: Sequence[dict[str, str]], seed: int, tokens: int, temperature: float
) -> bytes:
    """The next turn of a conversation, as an event stream."""
    return http_request(
        {
            "messages": list(messages),
            "seed": seed,
            "max_tokens": tokens,
            "temperature": temperature,
            "top_k": 50,
            "top_p": 0.95,
            "repetition_penalty": 1.0,
        }
    )
