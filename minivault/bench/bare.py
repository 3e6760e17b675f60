"""Measures the engine alone: no thread, no text, no server. `python -m minivault.bench.bare`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minivault.bench.figures import Wave, figures
from minivault.bench.memory import resident_memory
from minivault.bench.workload import Workload
from minivault.engine.engine import Engine
from minivault.engine.loading import load_runner
from minivault.engine.sequence import SamplingParams, Sequence
from minivault.engine.tokenizer import load_tokenizer

_KV_MEMORY = 16 * 2**30  # no limit: places are what is measured


class Silent:
    """The text of a sequence whose tokens nobody reads."""

    stopped = False
    held = ""

    def push(self, token_id: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def measure_engine(
    folder: Path,
    *,
    dtype: str,
    threads: int | None,
    at_once: list[int],
    workload: Workload,
    runner: str = "auto",
) -> Iterator[dict[str, Any]]:
    """The figures of one width of the weights: a row for each number of sequences at once.

    Loads the model in this process, which should be made for it: memory is the whole process's.
    """
    begin = time.perf_counter()
    model = load_runner(
        folder,
        dtype=dtype,  # type: ignore[arg-type]  # a wrong one is refused there
        threads=threads,
        runner=runner,  # type: ignore[arg-type]
        max_running=max(at_once),
        speculates=False,  # random weights repeat themselves
    )
    loaded = time.perf_counter() - begin
    engine = Engine(model, max_running=max(at_once), kv_memory=_KV_MEMORY)
    prompt = workload.prompt(load_tokenizer(folder).encode)
    for count in at_once:
        run_wave(engine, prompt, count, workload)  # the first one makes room and chooses kernels
        waves = [run_wave(engine, prompt, count, workload) for _ in range(workload.rounds)]
        yield {
            "what": "engine",
            "dtype": dtype,
            **asdict(figures(waves)),
            "memory_mb": round(resident_memory(os.getpid()) / 1e6),
            "load_seconds": round(loaded, 2),
            "engine": dict(model.description),
        }


def run_wave(
    engine: Engine, prompt: list[int], count: int, workload: Workload, group: str = ""
) -> Wave:
    """`count` sequences, begun together and stepped by hand until all have ended.

    What is kept of a prompt is used again by those of the same `group`, where it is kept at all.
    """
    sequences = [make_sequence(prompt, seed, workload, group) for seed in range(count)]
    arrivals: dict[int, list[float]] = {seed: [] for seed in range(count)}
    begin = time.perf_counter()
    for sequence in sequences:
        engine.add(sequence)
    while engine.busy:
        outputs = engine.step()
        now = time.perf_counter() - begin
        for output in outputs:
            if output.error:
                raise output.error
            arrivals[output.sequence.owner].append(now)
    seconds = time.perf_counter() - begin
    tokens = sum(len(sequence.generated) for sequence in sequences)
    return Wave(tuple(map(tuple, arrivals.values())), tokens, seconds)


def make_sequence(prompt: list[int], seed: int, workload: Workload, group: str = "") -> Sequence:
    """One whose text nobody reads; its seed is its owner, too."""
    params = SamplingParams(
        max_tokens=workload.new_tokens,
        temperature=workload.temperature,
        top_k=workload.top_k,
        top_p=workload.top_p,
        repetition_penalty=workload.repetition_penalty,
        seed=seed,
    )
    return Sequence(prompt, params, Silent(), owner=seed, group=group)


def main(order: dict[str, Any]) -> None:
    """Prints one JSON object a row, each as soon as it is measured."""
    order["workload"] = Workload(**order["workload"])
    for row in measure_engine(Path(order.pop("folder")), **order):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
