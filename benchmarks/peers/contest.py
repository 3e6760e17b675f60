"""The rounds: everybody once, then everybody again; medians and ratios at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.peers.contenders import ENGINE, PIPELINE, SERVER, Contender
from benchmarks.peers.formats import Models
from benchmarks.peers.order import Order
from benchmarks.peers.servers import running
from benchmarks.peers.venv import PeersVenv
from minivault.bench.process import MeasurementFailed, run_module

#: Told of each figure as it comes: who, how many at once, tokens per second.
Report = Callable[[Contender, int, float], None]


@dataclass(slots=True)
class Contest:
    """`order` is what all have in common. After `run`, `missing` says who took no part, and why."""

    contenders: Sequence[Contender]
    order: Order
    models: Models
    venv: PeersVenv
    missing: dict[str, str] = field(default_factory=dict)
    figures: dict[tuple[Contender, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def run(self, rounds: int, report: Report) -> None:
        """Measures everybody `rounds` times, one process at a time."""
        for _ in range(rounds):
            for contender in self.contenders:
                if contender.label in self.missing:
                    continue
                try:
                    for batch, speed in self._measure(contender):
                        self.figures[contender, batch].append(speed)
                        report(contender, batch, speed)
                except (MeasurementFailed, subprocess.CalledProcessError) as error:
                    self.missing[contender.label] = _why(error)

    def install(self) -> None:
        """Installs what the contenders need; those that cannot be had are missing."""
        for contender in self.contenders:
            if contender.needs and (why := self._installed(contender)):
                self.missing[contender.label] = why

    def rows(self) -> list[dict[str, Any]]:
        """The median of each contender at each number at once, and what it was made of."""
        return [
            {
                "name": contender.name,
                "width": contender.width,
                "own_width": contender.own_width or contender.width,
                "batch": batch,
                "tokens_per_second": round(median(speeds), 1),
                "runs": [round(each, 1) for each in speeds],
            }
            for (contender, batch), speeds in self.figures.items()
        ]

    def _installed(self, contender: Contender) -> str | None:
        modules = ["gguf", "llama_cpp"] if contender.format == "gguf" else [str(contender.needs)]
        return next((why for module in modules if (why := self.venv.install(module))), None)

    def _measure(self, contender: Contender) -> Iterator[tuple[int, float]]:
        path = self.models.path(contender, self.order.prompt_ids)
        order = self.order.told(model=str(path), width=contender.width)
        python = str(self.venv.python) if contender.needs else sys.executable
        with running(contender, order, self.venv.python) as port:
            module = f"benchmarks.peers.{contender.run}"
            for row in run_module(module, order.told(port=port).fields(), python=python):
                yield row["batch"], row["tokens_per_second"]


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """MiniVault against the fastest other at the same width and number at once."""
    found = []
    for ours in (row for row in rows if row["name"] in (ENGINE, SERVER)):
        same = [each for each in rows if _is_other(each) and _is_alike(each, ours)]
        if same:
            fastest = max(same, key=lambda row: float(row["tokens_per_second"]))
            found.append({**_ratio(ours, fastest), "fastest": fastest["name"]})
    return found


def pipeline_ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """MiniVault's server against one that runs a `generate` for each request in threads."""
    return [
        _ratio(ours, theirs)
        for ours in rows
        for theirs in rows
        if ours["name"] == SERVER and theirs["name"] == PIPELINE and _is_alike(ours, theirs)
    ]


def quiet_environment(threads: int) -> None:
    """What every process inherits: as many threads for everybody, and no way to the network."""
    os.environ.update(
        OMP_NUM_THREADS=str(threads),
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TRANSFORMERS_VERBOSITY="error",
        TOKENIZERS_PARALLELISM="false",
    )


def _ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    ratio = ours["tokens_per_second"] / theirs["tokens_per_second"]
    same = {name: ours[name] for name in ("name", "width", "batch")}
    return {**same, "ratio": round(ratio, 2)}


def _is_other(row: dict[str, Any]) -> bool:
    return row["name"] not in (ENGINE, SERVER)


def _is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["width"] == other["width"] and one["batch"] == other["batch"])


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        return said[-1][:200] if said else str(error)
    return str(error)[:200]
