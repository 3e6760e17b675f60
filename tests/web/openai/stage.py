"""A server whose backend acts as the prompt says, and what tests ask of /v1."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx

from minivault.backends.base import Finish, Logprobs, Piece, Request, TokenLogprob
from minivault.backends.echo import EchoBackend
from minivault.background import in_thread
from tests.live import LiveServer

CHAT, TEXTS = "/v1/chat/completions", "/v1/completions"


class Actor(EchoBackend):
    """Echoes, but for prompts that begin with a direction: fail, wait, emoji, tools."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, name="actor", created=1_700_000_000)
        self.go_on = threading.Event()

    def detokenize(self, tokens: list[int]) -> str:
        return " ".join(f"t{each}" for each in tokens)

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        direction = request.prompt.split()[0]
        if direction == "fail":
            yield Piece("so far ")
            raise ValueError('a "quoted" word of the prompt')
        if direction == "wait":
            yield Piece(" before")
            await in_thread(self.go_on.wait)
            yield Piece(" after")
            yield Finish()
            return
        if direction == "emoji":
            asked = request.params.logprobs
            for text, own in (("", b"\xf0\x9f"), ("\N{ROCKET}", b"\x9a\x80"), ("\u2028!", None)):
                token = TokenLogprob("\ufffd" if own else text, -0.5, own)
                yield Piece(text, logprobs=(Logprobs(token, (token,)),) if asked else ())
            yield Finish()
            return
        async for item in super().generate(request):
            yield item


def post(server: LiveServer, path: str, **body: Any) -> httpx.Response:
    """A whole answer of /v1, as OpenAI's clients ask: for JSON, whatever the body says."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        return client.post(server.url + path, json=body, headers={"Accept": "application/json"})


def chat(server: LiveServer, text: str = "one two three", **body: Any) -> httpx.Response:
    return post(server, CHAT, messages=[{"role": "user", "content": text}], **body)


def texts(server: LiveServer, prompt: Any = "one two three", **body: Any) -> httpx.Response:
    return post(server, TEXTS, prompt=prompt, **body)


def blocks(response: httpx.Response) -> list[str]:
    """The data of a stream's blocks, read by the strictest of rules."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    found = []
    for block in response.text[:-2].split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("id: "):
            lines = lines[1:]
        (line,) = lines
        assert line.startswith("data: ")
        found.append(line.removeprefix("data: "))
    return found


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it should."""
    *data, last = blocks(response)
    assert last == "[DONE]"
    return [json.loads(each) for each in data]


def said(found: list[dict[str, Any]], index: int = 0) -> str:
    """The text of one choice of a chat's stream."""
    parts = [each for chunk in found for each in chunk.get("choices", ()) if each["index"] == index]
    return "".join(each.get("delta", each).get("content") or each.get("text", "") for each in parts)


def refused(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error of a refusal, in OpenAI's envelope."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (name,) = response.json()
    assert name == "error"
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return error
