"""Asks a server's `POST /v1/completions`, many at once, each answer whole."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from benchmarks.peers.order import Order, Task, answer, by_difference, read_order

_PATIENCE = 600.0


async def ask(order: Order, task: Task) -> int:
    """So many requests at once; the tokens of all answers."""
    body = {
        "model": order.model,
        "prompt": order.prompt,
        "max_tokens": task.new_tokens,
        "temperature": order.workload.temperature,
        "top_p": order.workload.top_p,
    }
    address = f"http://127.0.0.1:{order.port}/v1/completions"
    async with httpx.AsyncClient(timeout=_PATIENCE) as client:
        asked = (client.post(address, json=body) for _ in range(task.at_once))
        answers = await asyncio.gather(*asked)
    return sum(_tokens(each) for each in answers)


def _tokens(response: httpx.Response) -> int:
    response.raise_for_status()
    data: dict[str, Any] = response.json()
    return int(data["usage"]["completion_tokens"])


def main() -> None:
    order = read_order()
    answer(order, by_difference(lambda task: asyncio.run(ask(order, task))))


if __name__ == "__main__":
    main()
