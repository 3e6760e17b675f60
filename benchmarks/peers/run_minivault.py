"""MiniVault: the bare engine, or its server where the order has a port."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.peers.order import LONG, Order, Task, Times, answer, read_order
from minivault.bench import bare, clients
from minivault.bench.figures import Wave
from minivault.engine.engine import Engine
from minivault.engine.native.runner import NativeRunner

_MEMORY = 8 * 2**30  # no limit: places are what is measured


def main() -> None:
    order = read_order()
    answer(order, _Server(order) if order.port else _Bare(order))


class _Bare:
    """The engine, stepped by hand. It guesses nothing ahead: each token is computed for itself."""

    def __init__(self, order: Order) -> None:
        most = max(task.at_once for task in order.tasks)
        width: Any = order.width
        runner = NativeRunner(
            Path(order.model),
            dtype=width,
            threads=order.threads,
            max_running=most,
            prefix_memory=_MEMORY,
            speculates=False,
            target=order.target or None,
        )
        self._order = order
        self._engine = Engine(runner, max_running=most, kv_memory=_MEMORY)
        self._groups = map(str, count())

    def __call__(self, task: Task) -> Times:
        group = next(self._groups)  # nothing is left of an earlier task's prompt
        if task.at_once > 1 and task.prompt_tokens >= LONG:  # what all have is computed once
            self._wave(replace(task, at_once=1, new_tokens=1), group)
        return _times(self._wave(task, group))

    def _wave(self, task: Task, group: str) -> Wave:
        order = self._order
        workload = replace(order.workload, new_tokens=task.new_tokens)
        prompt = list(order.prompt_ids[: task.prompt_tokens])
        return bare.run_wave(self._engine, prompt, task.at_once, workload, group)


class _Server:
    """The server, whose texts are event streams."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def __call__(self, task: Task) -> Times:
        order = self._order
        workload = replace(order.workload, new_tokens=task.new_tokens)
        requests = [
            clients.http_request(workload.body(order.prompt, seed)) for seed in range(task.at_once)
        ]
        return _times(asyncio.run(clients.run_wave("127.0.0.1", order.port, requests)))


def _times(wave: Wave) -> Times:
    """From the moment when all had their first token."""
    first = max(each[0] for each in wave.arrivals)
    early = sum(moment <= first for each in wave.arrivals for moment in each)
    return Times(first, wave.seconds - first, wave.tokens - early)


if __name__ == "__main__":
    main()
