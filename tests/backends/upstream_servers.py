"""A server of OpenAI's completions that can be told to cut, stall, refuse, lie and come back."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.live import wait_for


@dataclass
class Scripted:
    """Token n of a text is ` w<seed + n>`, whoever makes it, from its id `seed + n`.

    `cut_after` tokens the connection breaks, `stall_after` it goes silent, `status` is what every
    request gets, `ids` whether token ids are told; `bodies` are all requests that came.
    """

    model: str = "org/scripted"
    owner: str = "vllm"
    fingerprint: str = "fp-1"
    ids: bool = True
    cut_after: int | None = None
    stall_after: int | None = None
    status: int = 200
    word: str = "w"
    delay: float = 0.001
    url: str = ""
    running: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def models(self, request: Request) -> Response:
        if self.status != 200:
            return self.refusal()
        model = {"id": self.model, "owned_by": self.owner, "max_model_len": 1000}
        return JSONResponse({"object": "list", "data": [model]})

    async def completions(self, request: Request) -> Response:
        if self.status != 200:
            return self.refusal()
        body = await request.json()
        if not body.get("stream"):
            choice = {"text": " a", "finish_reason": "length"}
            return JSONResponse({"choices": [choice], "system_fingerprint": self.fingerprint})
        self.bodies.append(body)
        return StreamingResponse(self.stream(body), media_type="text/event-stream")

    def refusal(self) -> Response:
        error = {
            "type": "invalid_request_error",
            "param": "prompt",
            "message": "your words: SECRET",
        }
        return JSONResponse({"error": error}, self.status)

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.running += 1
        try:
            for n in range(body["max_tokens"]):
                if self.cut_after == n:
                    raise ConnectionAbortedError
                if self.stall_after == n:
                    await asyncio.sleep(3600)
                yield _chunk(self.choice(body, n))
                await asyncio.sleep(self.delay)
            yield _chunk({"text": "", "finish_reason": "length"})
            yield f"data: {json.dumps({'choices': [], 'usage': {'completion_tokens': n + 1}})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def choice(self, body: dict[str, Any], n: int) -> dict[str, Any]:
        number = body["seed"] + n
        choice: dict[str, Any] = {"text": f" {self.word}{number}", "finish_reason": None}
        if self.ids and body.get("return_token_ids"):
            choice["token_ids"] = [number]
            if n == 0:
                prompt = body["prompt"]
                choice["prompt_token_ids"] = [1, 2] if isinstance(prompt, str) else prompt
        return choice


def _chunk(choice: dict[str, Any]) -> str:
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


@contextmanager
def scripted(**options: Any) -> Iterator[Scripted]:
    """A scripted server on a port of its own."""
    script = Scripted(**options)
    routes = [
        Route("/v1/models", script.models),
        Route("/v1/completions", script.completions, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
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
