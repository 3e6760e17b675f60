"""The rounds: everybody once, then everybody again; the best of each and ratios at the end.

The best, not the median: on a machine with other guests whatever disturbs makes slower, and those
who wait for all their threads at every step by far the most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import ENGINE, LLAMA, PIPELINE, SERVER, Contender
from benchmarks.peers.formats import Models
from benchmarks.peers.order import Order
from benchmarks.peers.servers import running
from benchmarks.peers.venv import PeersVenv
from minivault.bench.process import MeasurementFailed, run_module

#: Told of each figure as it comes: who, what, tokens per second.
Report = Callable[[Contender, str, float], None]

_OURS = (ENGINE, SERVER)


@dataclass(slots=True)
class Contest:
    """`order` is what all have in common. After `run`, `missing` says who took no part, and why."""

    contenders: Sequence[Contender]
    order: Order
    models: Models
    venv: PeersVenv
    missing: dict[str, str] = field(default_factory=dict)
    figures: dict[tuple[Contender, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def run(self, rounds: int, report: Report) -> None:
        """Measures everybody `rounds` times, one process at a time."""
        for _ in range(rounds):
            for contender in self.contenders:
                if contender.label in self.missing:
                    continue
                try:
                    for figure, speed in self._measure(contender):
                        self.figures[contender, figure].append(speed)
                        report(contender, figure, speed)
                except (MeasurementFailed, subprocess.CalledProcessError) as error:
                    self.missing[contender.label] = _why(error)

    def prepare(self) -> None:
        """Installs what the contenders need and writes their files; who cannot is missing."""
        for contender in self.contenders:
            if why := self._unprepared(contender):
                self.missing[contender.label] = why

    def rows(self) -> list[dict[str, Any]]:
        """The best of each contender's figures, and all that it was taken from."""
        return [
            {
                "name": contender.name,
                "width": contender.width,
                "own_width": contender.own_width or contender.width,
                "figure": figure,
                "tokens_per_second": round(max(speeds), 1),
                "runs": [round(each, 1) for each in speeds],
            }
            for (contender, figure), speeds in self.figures.items()
        ]

    def keep(self, file: Path) -> None:
        """Writes all figures, for a later contest to go on with."""
        named = [
            {"label": contender.label, "figure": figure, "runs": speeds}
            for (contender, figure), speeds in self.figures.items()
        ]
        file.write_text(json.dumps(named, indent=1), encoding="utf-8")

    def go_on(self, file: Path) -> None:
        """Counts the figures of an earlier contest with those to come."""
        known = {each.label: each for each in self.contenders}
        for each in json.loads(file.read_text(encoding="utf-8")):
            if each["label"] in known:
                self.figures[known[each["label"]], each["figure"]] += each["runs"]

    def _unprepared(self, contender: Contender) -> str | None:
        modules = [contender.needs] if contender.needs else []
        if contender.format == "gguf":
            modules = ["gguf", "llama_cpp"]  # these write the files, whoever reads them
        for module in modules:
            if why := self.venv.install(module):
                return why
        try:
            self.models.path(contender, self.order.prompt_ids)
        except subprocess.CalledProcessError as error:
            return _why(error)
        return None

    def _measure(self, contender: Contender) -> Iterator[tuple[str, float]]:
        order = self.order.told(
            model=str(self.models.path(contender, self.order.prompt_ids)),
            width=_told_width(contender),
        )
        if contender.server:  # they take the short prompt alone
            short = tuple(task for task in order.tasks if task.prompt_tokens <= 32)
            order = order.told(tasks=short)
        python = str(self.venv.python_of(contender.needs)) if contender.needs else sys.executable
        with running(contender, order, self.venv.python) as port:
            module = f"benchmarks.peers.{contender.run}"
            for row in run_module(module, order.told(port=port).fields(), python=python):
                yield row["figure"], row["tokens_per_second"]


def _told_width(contender: Contender) -> str:
    """What the process calls it; of a file MiniVault keeps its own."""
    if contender.format != "gguf":
        return contender.width
    return "auto" if contender.server else "file"


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """MiniVault against the fastest other at the same width and figure."""
    found = []
    for ours in (row for row in rows if row["name"] in _OURS):
        same = [each for each in rows if each["name"] not in _OURS and _is_alike(each, ours)]
        if same:
            fastest = max(same, key=lambda row: float(row["tokens_per_second"]))
            found.append({**_ratio(ours, fastest), "fastest": fastest["name"]})
    return found


def llama_ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engine against llama.cpp with the same file."""
    return _against(rows, (ENGINE,), LLAMA)


def pipeline_ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """MiniVault's server against one that runs a `generate` for each request in threads."""
    return _against(rows, (SERVER,), PIPELINE)


def _against(
    rows: Sequence[dict[str, Any]], names: tuple[str, ...], other: str
) -> list[dict[str, Any]]:
    return [
        _ratio(ours, theirs)
        for ours in rows
        for theirs in rows
        if ours["name"] in names and theirs["name"] == other and _is_alike(ours, theirs)
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
    same = {name: ours[name] for name in ("name", "width", "own_width", "figure")}
    return {**same, "ratio": round(ratio, 2)}


def _is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["width"] == other["width"] and one["figure"] == other["figure"])


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        return said[-1][:200] if said else str(error)
    return str(error)[:200]
