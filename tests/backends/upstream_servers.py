"""A server of OpenAI's completions that can be told to cut, stall, refuse, lie and come back."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from minivault.backends.upstream import UpstreamBackend
from minivault.client import Client
from tests.live import LiveServer, NimbleServer, live_server, wait_for


@dataclass
class Scripted:
    """Token n of a text is ` w<seed + n>`, whoever makes it, from its id `seed + n`.

    `cut_after` tokens the connection breaks, `stall_after` it goes silent, `status` is what every
    request gets, `chat_status` each conversation, `ids` whether token ids are told, `chat` whether
    there is a chat template, `poison` the seed whose text breaks off at once, `mute` that nothing
    comes of a probe, `unheard` how many came then, `drips` whether counts come without an end, and
    `merged` how many tokens come in one chunk; `bodies` are all requests that came for a text,
    `counted` how many came for a count.
    """

    model: str = "org/scripted"
    owner: str = "vllm"
    fingerprint: str = "fp-1"
    ids: bool = True
    chat: bool = False
    merged: int = 1
    cut_after: int | None = None
    stall_after: int | None = None
    status: int = 200
    chat_status: int = 200
    poison: int | None = None
    mute: bool = False
    unheard: int = 0
    drips: bool = False
    counted: int = 0
    word: str = "w"
    delay: float = 0.001
    url: str = ""
    running: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def models(self, request: Request) -> Response:
        if self.mute:
            self.unheard += 1
            await asyncio.sleep(3600)
        if self.status != 200:
            return self.refusal()
        model = {"id": self.model, "owned_by": self.owner, "max_model_len": 1000}
        return JSONResponse({"object": "list", "data": [model]})

    async def completions(self, request: Request) -> Response:
        if self.status != 200:
            return self.refusal()
        body = await request.json()
        if "messages" in body and not self.chat:
            return self.refusal(400)
        if "messages" in body and self.chat_status != 200:
            return self.refusal(self.chat_status)
        if not body.get("stream"):
            choice = {"text": " a", "finish_reason": "length"}
            return JSONResponse({"choices": [choice], "system_fingerprint": self.fingerprint})
        self.bodies.append(body)
        return StreamingResponse(self.stream(body), media_type="text/event-stream")

    async def tokenize(self, request: Request) -> Response:
        if self.status != 200:
            return self.refusal()
        self.counted += 1
        if self.drips:
            return StreamingResponse(_drops(), media_type="application/json")
        body = await request.json()
        texts = [body["prompt"]] if "prompt" in body else [m["content"] for m in body["messages"]]
        return JSONResponse({"count": sum(len(each.split()) for each in texts)})

    def refusal(self, status: int | None = None) -> Response:
        error = {
            "type": "invalid_request_error",
            "param": "prompt",
            "message": "your words: SECRET",
        }
        return JSONResponse({"error": error}, status or self.status)

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.running += 1
        try:
            most = body["max_tokens"]
            for n in range(0, most, self.merged):
                if self.cut_after == n or self.poison == body["seed"]:
                    raise ConnectionAbortedError
                if self.stall_after == n:
                    await asyncio.sleep(3600)
                yield _chunk(self.choice(body, range(n, min(n + self.merged, most))))
                await asyncio.sleep(self.delay)
            yield _chunk({"text": "", "delta": {}, "finish_reason": "length"})
            usage = {"completion_tokens": most, "prompt_tokens": 3}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def choice(self, body: dict[str, Any], steps: range) -> dict[str, Any]:
        numbers = [body["seed"] + n for n in steps]
        text = "".join(f" {self.word}{number}" for number in numbers)
        is_chat = "messages" in body
        choice: dict[str, Any] = {"finish_reason": None}
        choice |= {"delta": {"content": text}} if is_chat else {"text": text}
        if body.get("logprobs"):
            choice["logprobs"] = _logprobs(text, body)
        if self.ids and body.get("return_token_ids"):
            choice["token_ids"] = numbers
            if steps[0] == 0:
                prompt = body.get("prompt", "")
                choice["prompt_token_ids"] = [1, 2] if isinstance(prompt, str) else prompt
        return choice


def _logprobs(text: str, body: dict[str, Any]) -> dict[str, Any]:
    """Three alternatives, whatever was asked for: vLLM tells one more, too."""
    likely = {" x": -3.0, text: -0.5, " y": -2.0}
    if "messages" not in body:
        return {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": [likely]}
    top = [{"token": each, "logprob": value, "bytes": None} for each, value in likely.items()]
    return {"content": [{"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": top}]}


async def _drops() -> AsyncIterator[str]:
    while True:
        yield " "
        await asyncio.sleep(0.02)


def _chunk(choice: dict[str, Any]) -> str:
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


@contextmanager
def scripted(**options: Any) -> Iterator[Scripted]:
    """A scripted server on a port of its own."""
    script = Scripted(**options)
    routes = [
        Route("/v1/models", script.models),
        Route("/v1/completions", script.completions, methods=["POST"]),
        Route("/v1/chat/completions", script.completions, methods=["POST"]),
        Route("/tokenize", script.tokenize, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
    config.timeout_graceful_shutdown = 1
    server = NimbleServer(config)
    listener = socket.create_server(("127.0.0.1", 0))
    script.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield script
    finally:
        server.force_exit = server.should_exit = True
        thread.join(10)
        listener.close()


PLAIN: dict[str, Any] = {"temperature": 1.0, "repetition_penalty": 1.0}


def words(seed: int, count: int, *, word: str = "w") -> str:
    return "".join(f" {word}{seed + n}" for n in range(count))


@contextmanager
def door(folder: Path, *scripts: Scripted, **options: Any) -> Iterator[tuple[LiveServer, Client]]:
    """A MiniVault before these servers, and a client of it."""
    upstream = UpstreamBackend([each.url for each in scripts], **options)
    with live_server(folder, upstream) as live, Client(live.url) as client:
        yield live, client


def text(client: Client, seed: int = 100, tokens: int = 20, **more: Any) -> str:
    return str(client.generate("Hello", seed=seed, max_tokens=tokens, **PLAIN, **more))
