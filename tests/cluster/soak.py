"""A fleet under cuts while a replica dies every minute: `python -m tests.cluster.soak`.

Two replicas with the storyteller get five requests a second through proxies that cut. At the end
each text is compared with a lone server's, each accepted request must have its record, and the
chain must verify. Prints a table and a line of JSON; exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.fleets import Fleet, fleet
from tests.faults.crowd import Answer, request, talk
from tests.faults.cutproxy import CutProxy
from tests.faults.returning_reader import Reader
from tests.faults.soak import WORDS, show
from tests.processes import minivault, serving

RATE = 5.0  # requests a second
SETTLE = 15.0  # seconds until whatever was left alone has ended
REPLICAS = 2
AT_ONCE = 16  # requests to the lone server
OPTIONS = ("--model", "storyteller", "--threads", "1", "--max-waiting", "1000")


@dataclass
class Guest(Reader):
    """A reader that knows when and how it was refused."""

    refusals: list[str] = field(default_factory=list)

    def _take(self, answer: Answer) -> None:
        if answer.status >= 500:
            self.refusals.append(f"{answer.status} {answer.body[:300].decode(errors='replace')}")
        super()._take(answer)


def require_recorded(each: Reader, found: list[dict[str, Any]]) -> str | None:
    """What is wrong with the records of a text, or None.

    A killed replica's part is recorded when another takes its place, which may be after the end.
    """
    if not found:
        return f"{each.how}: no record of an accepted request"
    if each.end in ("length", "stop", "cancelled"):
        ends = [(record["response"], record["finish_reason"]) for record in found]
        return None if (each.text, each.end) in ends else f"{each.how}: its end is not recorded"
    if each.end == "gone" and each.how == "stop":
        return None  # stopped, and then its replica died: there is nothing to go on with
    if each.end in ("failed", "gone", "error"):
        return f"{each.how}: ended as {each.end}"
    if any(record["response"].startswith(each.text) for record in found):
        return None
    return f"{each.how}: what was said is no beginning of what is recorded"


def reader(fleet: Fleet, ports: list[int], chance: random.Random) -> Guest:
    """Somebody who wants a text, with a name and a seed for it."""
    how = chance.choices(["listen", "leave", "away", "stop"], [70, 10, 8, 12])[0]
    longest = 240 if how in ("away", "leave") else 120
    query = {
        "prompt": " ".join(chance.choices(WORDS, k=chance.randrange(1, 12))),
        "max_tokens": chance.randrange(longest // 4, longest),
        "seed": chance.randrange(2**32),
        "key": f"key-{chance.randrange(2**60)}",
    }
    return Guest(how, chance, ports, fleet.port, query)


async def load(
    fleet: Fleet, ports: list[int], minutes: float, every: float, chance: random.Random
) -> tuple[list[Guest], int]:
    """Starts a request every fifth of a second; returns all of them and how many replicas died."""
    readers: list[Guest] = []
    killing = asyncio.create_task(kill(fleet, minutes * 60, every, random.Random(chance.random())))
    end = time.monotonic() + minutes * 60
    async with asyncio.TaskGroup() as tasks:
        while time.monotonic() < end:
            each = reader(fleet, ports, random.Random(chance.random()))
            readers.append(each)
            tasks.create_task(each.read())
            await asyncio.sleep(chance.expovariate(RATE))
    await asyncio.sleep(SETTLE)
    return readers, await killing


async def kill(fleet: Fleet, seconds: float, every: float, chance: random.Random) -> int:
    """kill -9 of one replica, again and again; waits until all serve before the next one."""
    died, end = 0, time.monotonic() + seconds
    while time.monotonic() + every < end:
        await asyncio.sleep(every)
        said = len(fleet.output)
        killed = chance.choice(fleet.replicas())
        os.kill(killed, signal.SIGKILL)
        died += 1
        # Not as many as there were: one that was given up may still have been leaving.
        await asyncio.to_thread(fleet.back, [killed], REPLICAS, said)
    return died


async def compare(port: int, readers: Sequence[Reader]) -> list[str]:
    """Where a text is not what a server says that nothing happens to."""
    places = asyncio.Semaphore(AT_ONCE)

    async def differs(each: Reader) -> bool:
        asked = {name: value for name, value in each.query.items() if name != "key"}
        async with places:
            raw = request(accept="application/json", method="POST", body=asked)
            whole = (await talk(port, raw)).json["text"]
        return not (whole == each.text if each.end == "length" else whole.startswith(each.text))

    told = [each for each in readers if each.id]
    found = await asyncio.gather(*map(differs, told))
    return [
        f"{each.how}: not the lone server's text"
        for each, bad in zip(told, found, strict=True)
        if bad
    ]


def soak(folder: Path, minutes: float, every: float, seed: int) -> dict[str, Any]:
    """Runs the load against a fresh fleet below `folder`."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        started = stack.enter_context(fleet(folder, *OPTIONS, patience=minutes * 60 + 600))
        lengths = [1, 300, 1100, *(chance.randrange(1000, 6000) for _ in range(5))]
        cutting = [
            CutProxy(
                started.port, after_bytes=each, times=10**9, mode=chance.choice(["fin", "rst"])
            )
            for each in lengths
        ]
        ports = [started.port, *(stack.enter_context(each).port for each in cutting)]
        readers, died = asyncio.run(load(started, ports, minutes, every, chance))
        breaches = [] if (code := started.stop()) == 0 else [f"exit code {code}"]
    records = [dict(each.fields) for each in started.records()]
    of_id: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        of_id.setdefault(record["id"], []).append(record)
    breaches += [breach for each in readers for breach in each.breaches]
    told = [each for each in readers if each.id]
    breaches += filter(None, (require_recorded(each, of_id.get(each.id, [])) for each in told))
    refusals = Counter(each for guest in readers for each in guest.refusals)
    breaches += [f"{count} times refused: {each}" for each, count in refusals.items()]
    verified = minivault("logs", "verify", cwd=folder)
    breaches += [] if verified.returncode == 0 else [f"verify: {verified.stdout}"]
    left = [path for path in (folder / "logs").glob("journal*") if path.stat().st_size]
    breaches += [f"{len(left)} journals are left"] if left else []
    (folder / "lone").mkdir()
    with serving(folder / "lone", *OPTIONS, "--allowed-host", "127.0.0.1", patience=1800) as lone:
        breaches += asyncio.run(compare(lone.port, readers))
    return {
        "minutes": minutes,
        "replicas killed": died,
        "requests": len(readers),
        "connections": sum(each.connections for each in readers),
        "pieces": sum(each.next - 1 for each in readers),
        "records": len(records),
        "made again": sum("continues" in record for record in records),
        "ends": dict(Counter(record["finish_reason"] for record in records)),
        "seen": dict(Counter(each.end or "left" for each in readers)),
        "compared with a lone one": sum(bool(each.id) for each in readers),
        "breaches": breaches,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="an empty one, to keep logs in")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as passing:
        folder = asked.folder or Path(passing)
        result = soak(folder, asked.minutes, asked.kill_every, asked.seed)
    show([result])
    return int(bool(result["breaches"]))


if __name__ == "__main__":
    sys.exit(main())
