"""Start to ready, memory, and the first token: `python -m benchmarks.start`.

A server of each width of the weights is started, asked once while it is idle, then by sixteen at
once, and by one more while those run. How long `minivault --help` takes stands above the table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tables import Table, report
from minivault.bench.clients import Reader, http_request, run_wave
from minivault.bench.machine import describe
from minivault.bench.memory import peak_memory, resident_memory
from minivault.bench.models import SHAPES, count_weights, make_random_model
from minivault.bench.process import served
from minivault.bench.suite import BYTES_PER_WEIGHT, DTYPES
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores
from minivault.engine.tokenizer import load_tokenizer

_COMPANY = 16
_HOST = "127.0.0.1"

COLUMNS = [
    "weights",
    "start to ready s",
    "memory MB, ready",
    "memory MB, 16 at once",
    "memory MB, at most",
    "allowed MB",
    "first token ms, idle",
    "between tokens ms, 16 run",
    "first token ms, 16 run",
]


async def first_token(port: int, body: bytes) -> float:
    """Seconds to the first piece of one request."""
    wave = await run_wave(_HOST, port, [body])
    [[first, *_]] = wave.arrivals
    return first


async def newcomer(port: int, company: list[bytes], body: bytes) -> tuple[float, float]:
    """Seconds to its first piece while the company runs, and between two pieces of theirs."""
    loop = asyncio.get_running_loop()
    readers = [
        (await loop.create_connection(partial(Reader, each), _HOST, port))[1] for each in company
    ]
    while not all(reader.arrivals(0.0)[8:] for reader in readers):
        await asyncio.sleep(0.01)
    seconds = await first_token(port, body)
    await asyncio.gather(*(reader.ended for reader in readers))
    moments = readers[0].arrivals(0.0)[:9]
    return seconds, (moments[-1] - moments[0]) / 8


def measure_once(folder: Path, dtype: str, threads: int, workload: Workload) -> dict[str, float]:
    """One start of one width; `auto` keeps that of a GGUF file."""
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.decode(workload.prompt(tokenizer.encode))
    bodies = [http_request(workload.body(prompt, seed)) for seed in range(_COMPANY + 1)]
    options = ("--dtype", dtype, "--threads", str(threads))
    with tempfile.TemporaryDirectory() as logs, served(folder, *options, logs=Path(logs)) as server:
        found = {"ready_seconds": server.seconds, "ready_mb": _megabytes(server.pid)}
        idle = [asyncio.run(first_token(server.port, bodies[0])) for _ in range(3)]
        beside, step = asyncio.run(newcomer(server.port, bodies[1:], bodies[0]))
        return found | {
            "peak_mb": peak_memory(server.pid) / 1e6,
            "busy_mb": _megabytes(server.pid),
            "first_token_ms": median(idle) * 1000,
            "step_ms": step * 1000,
            "newcomer_ms": beside * 1000,
        }


def help_seconds() -> float:
    """From the command to its end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "minivault", "--help"], check=True, capture_output=True)
    return time.perf_counter() - begin


def allowed_megabytes(folder: Path, dtype: str, texts: int, tokens: int) -> float:
    """Weights times 1.5, 500 MB, and the keys and values of what runs at most."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = BYTES_PER_WEIGHT[dtype]
    kv_width = 4 if dtype == "float32" else 2
    per_token = 2 * config["n_layer"] * config["n_embd"] * kv_width
    weights = count_weights(folder) * width
    return float(weights * 1.5 + texts * tokens * per_token) / 1e6 + 500


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    workload = Workload(new_tokens=asked.tokens)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = asked.model or make_random_model(Path(place), SHAPES[asked.shape])
        for dtype in ["auto"] if asked.model else asked.dtype or DTYPES:
            runs = [
                measure_once(folder, dtype, asked.threads, workload) for _ in range(asked.rounds)
            ]
            row = {name: round(median(run[name] for run in runs), 2) for name in runs[0]}
            length = workload.prompt_tokens + workload.new_tokens
            if asked.model:
                allowed = folder.stat().st_size * 1.2 / 1e6 + 300
            else:
                allowed = allowed_megabytes(folder, dtype, _COMPANY + 1, length)
            rows.append({"dtype": dtype, **row, "allowed_mb": round(allowed)})
    return {
        "machine": describe(),
        "model": asked.model.stem if asked.model else f"{asked.shape}'s shape, random weights",
        "rounds": asked.rounds,
        "help_seconds": round(median(help_seconds() for _ in range(5)), 2),
        "rows": rows,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A row as words, in the order of COLUMNS."""
    return [
        row["dtype"],
        f"{row['ready_seconds']:.1f}",
        f"{row['ready_mb']:.0f}",
        f"{row['busy_mb']:.0f}",
        f"{row['peak_mb']:.0f}",
        f"{row['allowed_mb']:.0f}",
        f"{row['first_token_ms']:.1f}",
        f"{row['step_ms']:.1f}",
        f"{row['newcomer_ms']:.1f}",
    ]


def table(result: dict[str, Any]) -> Table:
    rows = [cells(row) for row in result["rows"]]
    title = (
        f"{result['model']}; median of {result['rounds']} starts; "
        f"--help takes {result['help_seconds']} s"
    )
    return Table(title, COLUMNS, rows)


def _megabytes(process: int) -> float:
    return resident_memory(process) / 1e6


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    add = parser.add_argument
    add("--dtype", action="append", choices=DTYPES)
    add("--shape", default="distilgpt2", choices=list(SHAPES))
    add("--model", type=Path, help="a GGUF file instead, at its own widths")
    add("--rounds", type=int, default=3)
    add("--tokens", type=int, default=120)
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
