"""MiniVault: the bare engine, or its server where the order has a port."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.peers.order import Order, read_order, tell
from minivault.bench import bare, clients
from minivault.bench.figures import Wave


def main() -> None:
    order = read_order()
    if order.port:
        asyncio.run(_server(order))
    else:
        _engine(order)


def _engine(order: Order) -> None:
    rows = bare.measure_engine(
        Path(order.model),
        dtype=order.width,
        threads=order.threads,
        at_once=list(order.batches),
        workload=order.workload,
    )
    for row in rows:
        tell(row["at_once"], row["tokens_per_second"], 1.0)


async def _server(order: Order) -> None:
    for batch in order.batches:
        requests = [
            clients.http_request(order.workload.body(order.prompt, seed)) for seed in range(batch)
        ]
        await clients.run_wave("127.0.0.1", order.port, requests)
        wave: Wave = await clients.run_wave("127.0.0.1", order.port, requests)
        tell(batch, wave.tokens, wave.seconds)


if __name__ == "__main__":
    main()
