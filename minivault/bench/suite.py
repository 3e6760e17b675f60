"""The whole measurement: every width of the weights, bare and served, one to many at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivault.bench.machine import describe
from minivault.bench.memory import resident_memory
from minivault.bench.models import count_weights
from minivault.bench.process import run_module, served
from minivault.bench.workload import Workload
from minivault.engine.tokenizer import load_tokenizer

DTYPES = ("float32", "bfloat16", "int8")
RUNNERS = ("auto", "native", "transformers")
AT_ONCE = (1, 2, 4, 8, 16, 32)
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class Suite:
    """What is measured. `folder` holds the model, which should not end its texts by itself."""

    name: str
    folder: Path
    threads: int
    runner: str = "auto"
    random_weights: bool = False
    dtypes: tuple[str, ...] = DTYPES
    at_once: tuple[int, ...] = AT_ONCE
    workload: Workload = field(default_factory=Workload)

    def heading(self, bandwidth: float) -> dict[str, Any]:
        """What all rows have in common; `bandwidth` in bytes per second."""
        return {
            "model": self.name,
            "random_weights": self.random_weights,
            "weights": count_weights(self.folder),
            "threads": self.threads,
            "workload": self.workload.fields(),
            "bandwidth_gb_s": round(bandwidth / 1e9, 1),
            "machine": describe(),
        }

    def rows(self, bandwidth: float) -> Iterator[dict[str, Any]]:
        """One row for each width, each way and each number at once, as soon as it is measured."""
        weights = count_weights(self.folder)
        for dtype in self.dtypes:
            limit = bandwidth / (weights * BYTES_PER_WEIGHT[dtype])
            for row in (*self._bare(dtype), *self._served(dtype)):
                share = row["tokens_per_second"] / row["at_once"] / limit
                yield {**row, "limit_steps_per_second": round(limit, 1), "share": round(share, 3)}

    def _bare(self, dtype: str) -> Iterator[dict[str, Any]]:
        order = {"folder": str(self.folder), "threads": self.threads, "dtype": dtype}
        order["runner"] = self.runner
        yield from run_module("minivault.bench.bare", order | self._common())

    def _served(self, dtype: str) -> Iterator[dict[str, Any]]:
        tokenizer = load_tokenizer(self.folder)
        prompt = tokenizer.decode(self.workload.prompt(tokenizer.encode))
        options = ("--dtype", dtype, "--threads", str(self.threads), "--runner", self.runner)
        places = ("--max-running", str(max(self.at_once)), "--kv-memory", "16 GiB")
        with (
            tempfile.TemporaryDirectory() as logs,
            served(self.folder, *options, *places, logs=Path(logs)) as server,
        ):
            order = {"port": server.port, "prompt": prompt} | self._common()
            for row in run_module("minivault.bench.clients", order):
                memory = round(resident_memory(server.pid) / 1e6)
                yield {"what": "server", "dtype": dtype, **row, "memory_mb": memory}

    def _common(self) -> dict[str, Any]:
        return {"at_once": list(self.at_once), "workload": self.workload.fields()}
