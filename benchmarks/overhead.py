"""What the server adds to the engine: `python -m benchmarks.overhead`. Linux.

Three measurements. The echo backend, which costs next to nothing itself, shows how many pieces a
second the event loop can carry, and a profile of its thread in which layer the time goes. The real
engine, bare and served side by side, shows what is left of its speed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.layers import seconds_by_layer, slowest
from benchmarks.tables import Table, report
from minivault.bench.machine import describe
from minivault.bench.models import SHAPES, make_random_model
from minivault.bench.process import ServerProcess, run_module, server
from minivault.bench.suite import DTYPES
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores
from minivault.engine.tokenizer import load_tokenizer

_ECHO = ("--backend", "echo")
_PROMPT = "one two three four five six seven eight nine ten eleven twelve"


@dataclass(frozen=True, slots=True)
class Load:
    """How many clients, how many tokens each, how many waves; and the threads of the model."""

    clients: int
    tokens: int
    rounds: int
    threads: int

    def order(self, port: int, prompt: str, workload: Workload) -> dict[str, Any]:
        return {
            "port": port,
            "prompt": prompt,
            "at_once": [self.clients],
            "workload": workload.fields(),
        }


def echo(load: Load) -> dict[str, Any]:
    """Pieces per second that the loop carries, and what one costs its thread."""
    workload = Workload(new_tokens=load.tokens, rounds=load.rounds)
    with serve(*_ECHO) as process:
        return _measured(process, load, _PROMPT, workload)


def layers(load: Load) -> dict[str, Any]:
    """Where the loop's thread spends its time, in shares: a profile makes everything slower."""
    workload = Workload(new_tokens=load.tokens, rounds=load.rounds)
    with tempfile.TemporaryDirectory() as place:
        profile = Path(place) / "profile"
        with serve(*_ECHO, profile=profile) as process:
            list(run_module("minivault.bench.clients", load.order(process.port, _PROMPT, workload)))
        seconds = seconds_by_layer(profile)
        total = sum(seconds.values())
        return {
            "layers": {name: round(each / total, 3) for name, each in seconds.items()},
            "slowest": [[name, round(each / total, 3)] for name, each in slowest(profile, 12)],
        }


def engine(load: Load, folder: Path, dtype: str) -> dict[str, Any]:
    """The engine bare and served by turns, and what the server keeps of its speed."""
    workload = Workload(rounds=1)
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.decode(workload.prompt(tokenizer.encode))
    bare, served = [], []
    for _ in range(load.rounds):
        bare.append(_bare(load, folder, dtype, workload))
        options = ("--model", str(folder), "--dtype", dtype, "--threads", str(load.threads))
        with serve(*options) as process:
            served.append(_measured(process, load, prompt, workload))
    speed = median(each["tokens_per_second"] for each in served)
    return {
        "dtype": dtype,
        "bare_tokens_per_second": median(bare),
        "served_tokens_per_second": speed,
        "cost": round(1 - speed / median(bare), 3),
        "loop_us_per_token": median(each["loop_us_per_token"] for each in served),
    }


def _bare(load: Load, folder: Path, dtype: str, workload: Workload) -> float:
    order = {"folder": str(folder), "dtype": dtype, "threads": load.threads}
    rest = {"at_once": [load.clients], "workload": workload.fields()}
    [row] = run_module("minivault.bench.bare", order | rest)
    return float(row["tokens_per_second"])


def _measured(
    process: ServerProcess, load: Load, prompt: str, workload: Workload
) -> dict[str, Any]:
    before = loop_seconds(process.pid)
    [row] = run_module("minivault.bench.clients", load.order(process.port, prompt, workload))
    spent = loop_seconds(process.pid) - before
    waves = workload.rounds + 1  # the first one is not measured, and costs as much
    tokens = load.clients * workload.new_tokens * waves
    return {**row, "loop_us_per_token": round(spent / tokens * 1e6, 1)}


@contextmanager
def serve(*options: str, profile: Path | None = None) -> Iterator[ServerProcess]:
    """A server that keeps its log in a folder of its own, profiled or not."""
    start = ["benchmarks.profiled_server", str(profile)] if profile else ["minivault", "serve"]
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", *start, "--port", "0", "--offline", "--logs-dir", logs]
        with server([*command, *options]) as process:
            yield process


def loop_seconds(process: int) -> float:
    """Processor time of the event loop's thread, the process's first."""
    spent = Path(f"/proc/{process}/task/{process}/schedstat").read_text(encoding="ascii")
    return int(spent.split()[0]) / 1e9


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    load = Load(asked.clients, asked.pieces, asked.rounds, asked.threads)
    result: dict[str, Any] = {"machine": describe(), "clients": asked.clients, "shape": asked.shape}
    result["echo"] = echo(load) | layers(load)
    if not asked.echo_only:
        with tempfile.TemporaryDirectory() as place:
            folder = make_random_model(Path(place), SHAPES[asked.shape])
            result["engine"] = [engine(load, folder, dtype) for dtype in asked.dtype or DTYPES]
    return result


def tables(result: dict[str, Any]) -> list[Table]:
    carried = result["echo"]
    cost = carried["loop_us_per_token"]
    title = (
        f"echo backend, {result['clients']} clients: {carried['tokens_per_second']:.0f} pieces/s, "
        f"{cost:.0f} µs of the loop's thread each"
    )
    by_layer = [
        [name, f"{share:.0%}", f"{share * cost:.1f}"] for name, share in carried["layers"].items()
    ]
    functions = [[name, f"{share:.1%}"] for name, share in carried["slowest"]]
    found = [
        Table(title, ["layer", "share", "µs per piece"], by_layer),
        Table("functions with the most time of their own", ["function", "share"], functions),
    ]
    if "engine" in result:
        columns = ["weights", "bare tokens/s", "served tokens/s", "cost", "loop µs per token"]
        name = f"engine, {result['shape']}'s shape, {result['clients']} at once"
        found.append(Table(name, columns, [_engine_cells(row) for row in result["engine"]]))
    return found


def _engine_cells(row: dict[str, Any]) -> list[str]:
    return [
        row["dtype"],
        f"{row['bare_tokens_per_second']:.0f}",
        f"{row['served_tokens_per_second']:.0f}",
        f"{row['cost']:.1%}",
        f"{row['loop_us_per_token']:.0f}",
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, default=16)
    add("--pieces", type=int, default=1000, help="pieces of each echoed text")
    add("--rounds", type=int, default=3)
    add("--dtype", action="append", choices=DTYPES)
    add("--shape", default="distilgpt2", choices=list(SHAPES))
    add("--threads", type=int, default=available_cores())
    add("--echo-only", action="store_true", help="leave the engine out")
    report(parser, arguments, measure, tables)


if __name__ == "__main__":
    main()
