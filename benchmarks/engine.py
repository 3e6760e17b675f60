"""How fast the bare engine is: python -m benchmarks.engine --shape distilgpt2 --batch 1,8,16

Tokens per second, time to the first token and between tokens, and the share of the limit that the
machine's memory sets to one stream: every step must read every weight once.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, save_shape
from minivault.engine.engine import Engine
from minivault.engine.runners.gpt2 import Gpt2Runner
from minivault.engine.sequence import SamplingParams, Sequence

BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


class NoText:
    """Tokens without a tokenizer: only the engine is measured."""

    stopped = False
    held = ""

    def push(self, token_id: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or save_shape(options.shape, Path(folder))
        bandwidth = read_bandwidth()
        rows = [
            row
            for dtype in options.dtype.split(",")
            for row in measure_dtype(path, dtype, bandwidth, options)
        ]
    report = {"machine": machine(bandwidth), "model": str(options.model or options.shape)}
    if options.json:
        print(json.dumps(report | {"rows": rows}, indent=1))
    else:
        print(report)
        _print(rows)


def measure_dtype(
    folder: Path, dtype: str, bandwidth: float, options: argparse.Namespace
) -> list[dict[str, Any]]:
    began = time.perf_counter()
    runner = Gpt2Runner(
        folder, dtype=dtype, threads=options.threads, kernels=options.kernels, max_running=64
    )
    loaded = time.perf_counter() - began
    read = weight_bytes(folder, dtype)
    found = []
    for batch in (int(each) for each in options.batch.split(",")):
        best = max((measure(runner, batch, options) for _ in range(options.repeat)), key=_speed)
        best |= {"dtype": dtype, "batch": batch, "load_s": loaded}
        best["share_of_limit"] = best["tokens_per_second"] / batch / (bandwidth / read)
        found.append(best)
    return found


def measure(runner: Gpt2Runner, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """`batch` sequences that come at once; tokens per second over all of their time."""
    engine = Engine(runner, max_running=64, kv_memory=2**34)
    times: dict[Sequence, list[float]] = {_ask(seed, runner, options): [] for seed in range(batch)}
    began = time.perf_counter()
    for sequence in times:
        engine.add(sequence)
    while engine.busy:
        outputs = engine.step()
        now = time.perf_counter()
        for output in outputs:
            times[output.sequence].append(now)
    whole = time.perf_counter() - began
    engine.close()
    gaps = [b - a for each in times.values() for a, b in zip(each, each[1:], strict=False)]
    return {
        "tokens_per_second": sum(map(len, times.values())) / whole,
        "decode_tokens_per_second": batch / statistics.median(gaps),
        "first_token_ms": 1e3 * statistics.median(each[0] - began for each in times.values()),
        "between_p50_ms": 1e3 * statistics.median(gaps),
        "between_p95_ms": 1e3 * statistics.quantiles(gaps, n=20)[-1],
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def read_bandwidth() -> float:
    """Bytes per second at which all threads read memory: the best of several sums of 256 MB."""
    block = torch.ones(64 * 2**20)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - began)
    return block.nbytes / min(times)


def weight_bytes(folder: Path, dtype: str) -> float:
    """What one step reads: all weights but the tables that only one row is looked up in."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    width = config["n_embd"]
    inner = config.get("n_inner") or 4 * width
    layer = 4 * width * width + 2 * width * inner
    return BYTES[dtype] * float(config["n_layer"] * layer + config["vocab_size"] * width)


def machine(bandwidth: float) -> dict[str, Any]:
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "read_gb_per_second": round(bandwidth / 1e9, 1),
    }


def _ask(seed: int, runner: Gpt2Runner, options: argparse.Namespace) -> Sequence:
    prompt = random.Random(seed).choices(range(runner.vocabulary), k=options.prompt)
    params = SamplingParams(
        options.tokens, temperature=0.8, top_k=50, top_p=0.95, repetition_penalty=1.1, seed=seed
    )
    return Sequence(prompt, params, NoText())


def _speed(row: dict[str, Any]) -> float:
    speed: float = row["tokens_per_second"]
    return speed


def _print(rows: list[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name not in ("dtype", "batch")]
    print("dtype".ljust(9), "batch", *(name.rjust(len(name)) for name in names))
    for row in rows:
        numbers = (f"{row[name]:.2f}".rjust(len(name)) for name in names)
        print(row["dtype"].ljust(9), str(row["batch"]).rjust(5), *numbers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="distilgpt2", help="random weights")
    parser.add_argument("--model", type=Path, help="a folder, instead of a shape")
    parser.add_argument("--dtype", default="float32,bfloat16,int8")
    parser.add_argument("--batch", default="1,2,4,8,16,32")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=120, help="new tokens of each")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--kernels", choices=("auto", "native", "torch"), default="auto")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
