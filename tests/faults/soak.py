"""Load with cuts, stops and resumes for as long as you like: `python -m tests.faults.soak`.

Two real servers, one with the storyteller and one with the echo backend, get five requests a second
between them through proxies that cut. At the end every promise about records, texts and resources
is checked. Prints a table and a line of JSON; exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.cutproxy import CutProxy
from tests.faults.footprint import Footprint, footprint
from tests.faults.returning_reader import Reader
from tests.processes import Served, minivault, serving

RATE = 5.0  # requests a second, all servers together
SLOPE = 1.0  # MiB of memory in ten minutes, at most
SLOPE_MINUTES = 10.0  # below that it says nothing
SAMPLES = 120
SPARE_FILES = 2  # the log's own, and one that is just being closed
SETTLE = 120.0  # seconds until whatever was left alone must have ended
SERVERS = {
    "storyteller": ("--model", "storyteller", "--prefix-memory", "4MiB", "--allowed-host"),
    "echo": ("--backend", "tests.echoes:Slow", "--allowed-host"),
}
LONG = {"storyteller": 240, "echo": 1500}  # tokens of texts that somebody leaves in the middle
WORDS = ["once", "upon", "a", "time", "an", "old", "king", "had", "three", "sons", "🤖", "fox"]


@dataclass
class Target:
    """One server under load."""

    name: str
    server: Served
    ports: list[int]
    readers: list[Reader] = field(default_factory=list)
    samples: list[tuple[float, Footprint]] = field(default_factory=list)

    def reader(self, chance: random.Random) -> Reader:
        how = chance.choices(
            ["listen", "leave", "away", "stop", "text", "json"], [60, 10, 6, 10, 7, 7]
        )[0]
        longest = LONG[self.name] if how in ("away", "leave") else 80
        query: dict[str, Any] = {
            "prompt": " ".join(chance.choices(WORDS, k=chance.randrange(1, 12))),
            "max_tokens": chance.randrange(longest // 4, longest),
        }
        if chance.random() < 0.5:
            query["seed"] = chance.randrange(2**32)
        if chance.random() < 0.5:
            query["key"] = f"key-{chance.randrange(2**40)}"
        return Reader(how, chance, self.ports, self.server.port, query)

    def sample(self) -> None:
        self.samples.append((time.monotonic(), footprint(self.server.process.pid)))

    def slope(self) -> float:
        """MiB in ten minutes, over the second half, by least squares."""
        points = [(at / 600, each.resident / 2**20) for at, each in self.samples]
        points = points[len(points) // 2 :]
        x, y = (sum(column) / len(points) for column in zip(*points, strict=True))
        spread = sum((each[0] - x) ** 2 for each in points)
        return sum((a - x) * (b - y) for a, b in points) / spread if spread else 0.0

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.server.url}metrics", timeout=60) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
        return {name: float(value) for name, _, value in lines if name[0] != "#"}


async def load(targets: list[Target], minutes: float, chance: random.Random) -> None:
    """Starts a request every fifth of a second, and waits for the last of them."""
    sampling = asyncio.create_task(sample(targets, every=minutes * 60 / SAMPLES))
    async with asyncio.TaskGroup() as tasks:
        for target in itertools.islice(itertools.cycle(targets), int(minutes * 60 * RATE)):
            reader = target.reader(random.Random(chance.random()))
            target.readers.append(reader)
            tasks.create_task(reader.read())
            await asyncio.sleep(chance.expovariate(RATE))
    sampling.cancel()
    for target in targets:
        target.sample()
        await settled(target)
        target.sample()


async def settled(target: Target) -> None:
    """Waits until whatever was left alone has ended, and idle connections are closed."""
    end = time.monotonic() + SETTLE
    while time.monotonic() < end and not is_level(target):
        await asyncio.sleep(0.2)


def is_level(target: Target) -> bool:
    """Whether nothing is open any more, and no more files than at the begin."""
    files = footprint(target.server.process.pid).files
    return files <= target.samples[0][1].files + SPARE_FILES and not left_over(target.metrics())


async def sample(targets: list[Target], every: float) -> None:
    """Writes down what the servers hold, again and again."""
    while True:
        for target in targets:
            target.sample()
        await asyncio.sleep(every)


def judge(target: Target, minutes: float) -> dict[str, Any]:
    """All figures of a server, and every promise that was broken."""
    numbers = target.metrics()
    health = urllib.request.urlopen(f"{target.server.url}health", timeout=60)
    with health:
        breaches = [] if health.status == 200 else ["not healthy at the end"]
    exit_code = target.server.stop()
    breaches += [] if exit_code == 0 else [f"exit code {exit_code}"]
    breaches += [f"stderr: {line}" for line in target.server.complaints[:3]]
    records = target.server.records()
    breaches += check_texts(target.readers, records)
    breaches += check_counts(numbers, records)
    breaches += check_resources(target, minutes)
    verified = minivault("logs", "verify", cwd=target.server.folder)
    breaches += [] if verified.returncode == 0 else [f"verify: {verified.stdout}"]
    first, last = target.samples[len(target.samples) // 2][1], target.samples[-1][1]
    return {
        "server": target.name,
        "requests": len(target.readers),
        "connections": sum(each.connections for each in target.readers),
        "resumed": int(numbers["minivault_requests_resumed_total"]),
        "continued": int(numbers["minivault_requests_continued_total"]),
        "pieces": sum(each.next - 1 for each in target.readers),
        "records": len(records),
        "ends": dict(Counter(record["finish_reason"] for record in records)),
        "seen": dict(Counter(each.end or "left" for each in target.readers)),
        "halfway": asdict(first),
        "end": asdict(last),
        "slope_mib_in_ten_minutes": round(target.slope(), 2),
        "breaches": breaches,
    }


def check_texts(readers: list[Reader], records: list[dict[str, Any]]) -> list[str]:
    """Every accepted request is recorded, and every text is whole or a prefix as recorded."""
    breaches = [f"{each.how}: {breach}" for each in readers for breach in each.breaches]
    said: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        said.setdefault(record["id"], []).append(record)
    for each in [each for each in readers if each.id]:
        found = said.get(each.id, [])
        if not found:
            breaches.append(f"{each.how}: no record of an accepted request")
        elif each.end in ("length", "stop", "cancelled", "text"):
            ends = {found[-1]["finish_reason"], "text"}
            if each.text != found[-1]["response"] or each.end not in ends:
                breaches.append(f"{each.how}: the whole text is not the recorded one")
        elif not any(record["response"].startswith(each.text) for record in found):
            breaches.append(f"{each.how}: what was said is no prefix of what is recorded")
        if each.end in ("failed", "gone", "error"):
            breaches.append(f"{each.how}: ended as {each.end}")
    return breaches


def check_counts(numbers: dict[str, float], records: list[dict[str, Any]]) -> list[str]:
    """Accepted, ended and recorded are the same number, and nothing is left over."""
    accepted = sum(numbers[name] for name in numbers if "requests_accepted_total" in name)
    ended = sum(numbers[name] for name in numbers if "requests_finished_total" in name)
    breaches = []
    if not accepted == ended == len(records):
        breaches.append(f"{accepted} accepted, {ended} ended, {len(records)} recorded")
    breaches += [f"{name} at the end" for name in left_over(numbers)]
    return breaches


def left_over(numbers: dict[str, float]) -> list[str]:
    """What is still open, and how many."""
    names = ("num_requests_running", "num_requests_waiting", "num_followers", "vault_open")
    found = {name: numbers[f"minivault_{name}"] for name in names}
    return [f"{name} is {count:g}" for name, count in found.items() if count]


def check_resources(target: Target, minutes: float) -> list[str]:
    """Files and threads as at the begin or fewer than under load, memory level."""
    begin, end = target.samples[0][1], target.samples[-1][1]
    breaches = []
    if end.files > begin.files + SPARE_FILES:
        breaches.append(f"{end.files} open files, {begin.files} at the begin")
    if end.threads > max(each.threads for _, each in target.samples[:-1]):
        breaches.append(f"{end.threads} threads at the end, more than ever under load")
    if minutes >= SLOPE_MINUTES and target.slope() > SLOPE:
        breaches.append(f"memory grows by {target.slope():.1f} MiB in ten minutes")
    return breaches


def soak(folder: Path, minutes: float, seed: int, names: list[str]) -> list[dict[str, Any]]:
    """Runs the load against fresh servers below `folder`; one result for each."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        targets = []
        for name in names:
            (folder / name).mkdir(parents=True)
            options = (*SERVERS[name], "127.0.0.1")
            patience = minutes * 60 + 300
            server = stack.enter_context(serving(folder / name, *options, patience=patience))
            targets.append(Target(name, server, [server.port, *_cutting(stack, server, chance)]))
        asyncio.run(load(targets, minutes, chance))
        return [judge(target, minutes) for target in targets]


def _cutting(stack: ExitStack, server: Served, chance: random.Random) -> list[int]:
    """Ports behind which connections end: in the head, in the first event, later; FIN or RST."""
    lengths = [1, 300, 1100, *(chance.randrange(1000, 6000) for _ in range(5))]
    return [
        stack.enter_context(
            CutProxy(
                server.port, after_bytes=length, times=10**9, mode=chance.choice(["fin", "rst"])
            )
        ).port
        for length in lengths
    ]


def show(results: list[dict[str, Any]]) -> None:
    """A table for people, a line for programs."""
    for name in results[0]:
        cells = [re.sub(r"[{}'\"]", "", str(result[name])) for result in results]
        print(f"{name:<25}" + "".join(f"{cell:<60}" for cell in cells))
    print(json.dumps(results))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--folder", type=Path, help="an empty one, to keep logs and stderr in")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as passing:
        folder = asked.folder or Path(passing)
        results = soak(folder, asked.minutes, asked.seed, asked.servers)
    show(results)
    return int(any(result["breaches"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
