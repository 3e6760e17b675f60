"""What a fleet's ingress costs: `python -m benchmarks.cluster`. Linux, with `minivault[cluster]`.

Two servers of one thread each, asked directly, and two replicas of one thread each behind Ray
Serve's HAProxy, by turns in one run. Half of the clients in each of two processes, both times.
Each client asks anew as soon as it is answered: in waves, which wait for their last text, all
would wait for the slower replica, where servers that are asked directly have waves of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from minivault.bench.machine import describe, sentence
from minivault.bench.process import run_module, server
from minivault.bench.workload import TEXT, Workload

_SERVERS = 2
_OPTIONS = ("--model", "storyteller", "--threads", "1", "--offline", "--port", "0")
#: What two replicas behind HAProxy are to keep of the speed of two bare servers.
GOAL = 0.85


@contextmanager
def bare() -> Iterator[list[int]]:
    """The ports of two servers that know nothing of each other."""
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield [
            stack.enter_context(server(_command("serve", logs / str(number)))).port
            for number in range(_SERVERS)
        ]


@contextmanager
def fleet() -> Iterator[list[int]]:
    """The port of a fleet, once for each of its replicas."""
    with (
        tempfile.TemporaryDirectory() as logs,
        server(_command("cluster", Path(logs), "up", "--replicas", str(_SERVERS))) as process,
    ):
        yield [process.port] * _SERVERS


def _command(name: str, logs: Path, *words: str) -> list[str]:
    start = [sys.executable, "-m", "minivault", name, *words]
    return [*start, *_OPTIONS, "--logs-dir", str(logs)]


def measured(ports: list[int], clients: int, workload: Workload) -> dict[str, float]:
    """Tokens a second of all together, and milliseconds to the first one."""
    order = {
        "prompt": TEXT[:140],
        "at_once": [clients // len(ports)],
        "workload": workload.fields(),
        "apart": True,
    }
    with ThreadPoolExecutor(len(ports)) as pool:
        asked = [
            pool.submit(
                lambda port: next(run_module("minivault.bench.clients", order | port)), each
            )
            for each in ({"port": port} for port in ports)
        ]
        rows = [each.result() for each in asked]
    return {
        "tokens_per_second": sum(row["tokens_per_second"] for row in rows),
        "first_token_ms": median(row["first_token_p50"] for row in rows),
    }


def compare(rounds: int, clients: int, workload: Workload) -> dict[str, Any]:
    """Both by turns; the ratio is of the medians."""
    shapes = {"two servers": bare, "two replicas behind HAProxy": fleet}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in shapes}
    for number in range(rounds):
        # The other way round every second time: who comes first has the cooler machine.
        for name in list(shapes)[:: 1 if number % 2 == 0 else -1]:
            with shapes[name]() as ports:
                rows[name].append(measured(ports, clients, workload))
    medians = {
        name: {key: round(median(row[key] for row in each)) for key in each[0]}
        for name, each in rows.items()
    }
    speeds = [each["tokens_per_second"] for each in medians.values()]
    return {
        "machine": describe(),
        "clients": clients,
        "shapes": medians,
        "rounds": rows,
        "ratio": round(speeds[1] / speeds[0], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, default=16)
    add("--tokens", type=int, default=120, help="of each text")
    add("--texts", type=int, default=10, help="that each client asks for in a round")
    add("--rounds", type=int, default=3)
    add("--json", action="store_true")
    asked = parser.parse_args(arguments)
    workload = Workload(new_tokens=asked.tokens, rounds=asked.texts)
    result = compare(asked.rounds, asked.clients, workload)
    if asked.json:
        print(json.dumps(result))
        return 0
    print(sentence(result["machine"]))
    for name, row in result["shapes"].items():
        told = f"{row['tokens_per_second']} tokens/s, first token after {row['first_token_ms']} ms"
        print(f"{name:<28} {told}")
    print(f"{'ratio':<28} {result['ratio']}, wanted {GOAL}")
    return int(result["ratio"] < GOAL)


if __name__ == "__main__":
    sys.exit(main())
