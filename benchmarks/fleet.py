"""A fleet on paper: `python -m benchmarks.fleet`. Simulates its queues, adds up what it costs.

Nothing is started. What one machine can tell is measured elsewhere and goes in here: tokens of a
replica a second (`python -m benchmarks`), what an event takes of a proxy (`make bench-cluster`) and
of a server (`python -m benchmarks.streams`). The waits are simulated: texts come at random, a
replica makes so many at once, and who finds no place waits.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from minivault.bench.figures import percentile
from minivault.bench.report import markdown

_TEXTS = 40_000  # simulated for each row
_WARM = 0.2  # share of them that finds the queue not yet as it will be


@dataclass(frozen=True, slots=True)
class Figures:
    """What is put in. Each has an option of its name."""

    tokens: float = 1060.0  # a second, of one replica of two cores that runs all it can
    at_once: int = 16  # texts of a replica
    length: float = 120.0  # tokens of a text, on the average
    proxy_us: float = 20.0  # of a core of HAProxy for an event
    health_ms: float = 0.7  # of a replica's core for a health check
    replicas_per_node: int = 8  # they share a proxy and a writer
    check_seconds: float = 5.0  # between two health checks of a replica by a proxy
    ship_seconds: float = 60.0  # between two shipments of a writer's tree
    price: float = 0.10  # for an hour of a replica; an assumption
    load: float = 0.7  # of what all can do


@dataclass(frozen=True, slots=True)
class Waits:
    """`share` of the texts finds no place at once; `p99` seconds of all of them wait at most."""

    share: float
    p99: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas in cells; each cell has a proxy on every node, which knows the cell's replicas."""

    replicas: int
    cells: int
    figures: Figures

    @property
    def tokens(self) -> float:
        return self.replicas * self.figures.tokens

    @property
    def proxies(self) -> int:
        """Of one cell."""
        return math.ceil(self.replicas / self.cells / self.figures.replicas_per_node)

    @property
    def proxy_cores(self) -> float:
        return self.tokens * self.figures.proxy_us / 1e6

    @property
    def checks(self) -> float:
        """Health checks a second in one cell: each proxy asks each replica."""
        return self.proxies * self.replicas / self.cells / self.figures.check_seconds

    @property
    def check_share(self) -> float:
        """What answering them takes of a replica's core."""
        return self.proxies / self.figures.check_seconds * self.figures.health_ms / 1000

    @property
    def records(self) -> float:
        """A second."""
        return self.tokens / self.figures.length

    @property
    def puts(self) -> float:
        """To a bucket, a second: full tiles and bundles of 256 records, and five a shipment."""
        writers = self.proxies * self.cells
        return self.records / 256 * 2 + writers * 5 / self.figures.ship_seconds

    @property
    def million_tokens(self) -> float:
        """What they cost at this load."""
        return self.figures.price / (self.figures.tokens * 0.0036 * self.figures.load)

    def first_trouble(self) -> str:
        """What gives first, going up."""
        if self.check_share > 0.05:
            return f"health checks: {self.check_share:.0%} of a core of each replica"
        if self.proxy_cores / (self.proxies * self.cells) > 4:
            return "the proxies' threads"
        if self.cells > 1:
            return "the balancer before the cells, which must hash `key`"
        return "nothing" if self.proxies < 3 else "one proxy would: a proxy on each node"


def simulate(places: int, figures: Figures, *, seed: int = 1) -> Waits:
    """Texts of random length that come at random, first come first served at so many places."""
    draw = random.Random(seed)
    seconds = figures.length / (figures.tokens / figures.at_once)
    apart = seconds / (places * figures.load)
    free = [0.0] * places  # when each place is free again: a heap
    now, waits = 0.0, []
    for _ in range(_TEXTS):
        now += draw.expovariate(1 / apart)
        begin = max(now, free[0])
        heapq.heapreplace(free, begin + draw.expovariate(1 / seconds))
        waits.append(begin - now)
    waits = waits[round(_TEXTS * _WARM) :]
    return Waits(sum(each > 0 for each in waits) / len(waits), percentile(waits, 99))


def table(figures: Figures) -> Iterator[list[str]]:
    """A row for each fleet."""
    for replicas, cells in ((10, 1), (100, 1), (10_000, 1), (10_000, 80)):
        fleet = Fleet(replicas, cells, figures)
        yield [
            f"{replicas}" + (f" in {cells} cells" if cells > 1 else ""),
            _short(fleet.tokens),
            _short(replicas * figures.at_once),
            f"{fleet.proxy_cores:.1f}",
            f"{_short(fleet.checks)} ({fleet.check_share:.1%})",
            _short(fleet.records),
            f"{fleet.puts:.1f}",
            f"{fleet.million_tokens:.3f}",
            fleet.first_trouble(),
        ]


COLUMNS = [
    "replicas",
    "tokens/s when full",
    "streams",
    "HAProxy cores",
    "health checks/s of a cell (of each replica's core)",
    "records/s",
    "puts/s",
    "$ per million tokens at this load",
    "what gives first",
]


def waits(figures: Figures) -> Iterator[list[str]]:
    """How long texts wait where `key` decides who makes them, and where the freest replica does."""
    for load in (0.5, 0.7, 0.8, 0.9):
        loaded = replace(figures, load=load)
        by_key = simulate(figures.at_once, loaded)
        cells = [f"{load:.0%}", f"{by_key.share:.1%}", f"{by_key.p99:.2f}"]
        for replicas in (2, 10):
            freest = simulate(figures.at_once * replicas, loaded)
            cells += [f"{freest.share:.1%}", f"{freest.p99:.2f}"]
        yield cells


WAIT_COLUMNS = [
    "load",
    "by `key`: wait at all",
    "p99, s",
    "freest of 2: wait at all",
    "p99, s",
    "freest of 10: wait at all",
    "p99, s",
]


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    for each in fields(Figures):
        name = f"--{each.name.replace('_', '-')}"
        parser.add_argument(name, type=type(each.default), default=each.default)
    figures = Figures(**vars(parser.parse_args(arguments)))
    print(markdown(COLUMNS, list(table(figures))))
    print()
    print(markdown(WAIT_COLUMNS, list(waits(figures))))


if __name__ == "__main__":
    main()
