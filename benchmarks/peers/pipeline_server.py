"""A plain server: one transformers pipeline, and a thread for each request. `python -m … ORDER`.

What is usually written first. Prints its address and `ready` as MiniVault does.
"""

from __future__ import annotations

import socket

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import pipeline

from benchmarks.peers.order import Order, read_order


def create_app(order: Order) -> Starlette:
    torch.set_num_threads(order.threads)
    dtype = getattr(torch, order.width)
    generator = pipeline("text-generation", model=order.model, dtype=dtype, device="cpu")
    workload = order.workload

    def generate(prompt: str, tokens: int) -> str:
        [answer] = generator(
            prompt,
            do_sample=True,
            temperature=workload.temperature,
            top_k=workload.top_k,
            top_p=workload.top_p,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=0,
            return_full_text=False,
        )
        return str(answer["generated_text"])

    async def completions(request: Request) -> JSONResponse:
        body = await request.json()
        tokens = body["max_tokens"]
        text = await run_in_threadpool(generate, body["prompt"], tokens)
        return JSONResponse({"text": text, "usage": {"completion_tokens": tokens}})

    return Starlette(routes=[Route("/v1/completions", completions, methods=["POST"])])


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(read_order())
    print(f"open http://127.0.0.1:{listener.getsockname()[1]}/\nready", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()
