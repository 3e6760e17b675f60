"""Many event streams on one server: `python -m benchmarks.streams`. Linux.

Idle ones wait for their first token and get pings; active ones get ten tokens a second each. What a
stream takes in memory, what an event costs, when a newcomer has the first token, and whether all
that was asked for came, each word of it, and is in the log. A backend of its own makes the text, so
that the figures are the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.patient_backend import ACTIVE, GO, IDLE, PACE, pieces
from minivault.bench.clients import Reader
from minivault.bench.figures import percentile
from minivault.bench.machine import describe, sentence
from minivault.bench.memory import resident_memory
from minivault.bench.process import MeasurementFailed, ServerProcess, server
from minivault.bench.report import markdown

_AT_ONCE = 100  # connections that are opened together
_IDLE_TOKENS = 3
_NEWCOMERS = 50
_SPARE_FILES = 600
_LASTING = 40.0  # seconds that active streams last beyond their measuring: newcomers come then
_SETTLED = 3.0  # seconds after which streams that were opened make no more work
_TEXT = re.compile(rb'data: \{"text": ?"([^"]*)"')
_SECOND_TICKS = os.sysconf("SC_CLK_TCK")


class Crowd:
    """Readers of one server. They keep what comes and look at it when all has ended."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.readers: list[tuple[Reader, int, int]] = []

    async def come(self, word: str, count: int, tokens: int) -> None:
        """Opens streams, and returns when each has got its first event."""
        seeds = iter(range(len(self.readers), len(self.readers) + count))
        while batch := [seed for seed, _ in zip(seeds, range(_AT_ONCE), strict=False)]:
            came = await asyncio.gather(*(self._open(word, seed, tokens) for seed in batch))
            self.readers += [(each, seed, tokens) for each, seed in zip(came, batch, strict=True)]

    async def first_tokens(self) -> list[float]:
        """Milliseconds to the first token of people who come one after another."""
        found = []
        for seed in range(_NEWCOMERS):
            begin = time.perf_counter()
            reader = await self._connected("now", seed, 2)
            await reader.ended
            arrivals = reader.arrivals(begin)
            if not arrivals:
                raise MeasurementFailed(f"a newcomer got no token: {_answer(reader)[:200]!r}")
            found.append(arrivals[0] * 1000)
        return found

    async def lost(self) -> int:
        """How many streams did not get each word, once all have ended."""
        await asyncio.gather(*(reader.ended for reader, _, _ in self.readers))
        return sum(
            b"".join(_TEXT.findall(_answer(reader))).decode() != "".join(pieces(seed, tokens))
            for reader, seed, tokens in self.readers
        )

    async def release(self) -> None:
        """Lets the idle ones speak."""
        await (await self._connected(GO, 0, 1)).ended

    async def _open(self, word: str, seed: int, tokens: int) -> Reader:
        reader = await self._connected(word, seed, tokens)
        while not reader.chunks and not reader.ended.done():
            await asyncio.sleep(0.01)
        return reader

    async def _connected(self, word: str, seed: int, tokens: int) -> Reader:
        query = urlencode({"prompt": word, "seed": seed, "max_tokens": tokens})
        asked = f"GET /generate?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        request = f"{asked}Accept: text/event-stream\r\n\r\n".encode()
        connect = asyncio.get_running_loop().create_connection
        _, reader = await connect(partial(Reader, request), "127.0.0.1", self.process.port)
        return reader


def _answer(reader: Reader) -> bytes:
    return b"".join(data for _, data in reader.chunks)


async def measure(process: ServerProcess, asked: argparse.Namespace) -> dict[str, Any]:
    """All figures, in the order in which they can be taken."""
    crowd, found = Crowd(process), dict[str, Any]()
    found["newcomer_alone_ms"] = _quantiles(await crowd.first_tokens())
    before = resident_memory(process.pid)

    begin = time.perf_counter()
    await crowd.come(IDLE, asked.idle, _IDLE_TOKENS)
    found["opened_per_second"] = round(asked.idle / (time.perf_counter() - begin))
    await asyncio.sleep(_SETTLED)
    with_idle = resident_memory(process.pid)
    found["idle_stream_kb"] = round((with_idle - before) / asked.idle / 1000, 1)
    share = _Share(process.pid)
    await asyncio.sleep(asked.seconds / 2)
    found["idle_share_of_a_core"] = round(share.of_a_core(), 3)
    found["newcomer_beside_idle_ms"] = _quantiles(await crowd.first_tokens())

    tokens = round((asked.seconds / 2 + _LASTING) / PACE)
    await crowd.come(ACTIVE, asked.active, tokens)
    await asyncio.sleep(_SETTLED)
    share, events = _Share(process.pid), _events(crowd)
    await asyncio.sleep(asked.seconds / 2)
    spent, seconds = share.seconds(), share.passed()
    events = _events(crowd) - events
    found["events_per_second"] = round(events / seconds)
    found["wanted_events_per_second"] = round(asked.active / PACE)
    found["active_share_of_a_core"] = round(spent / seconds, 3)
    found["event_us"] = round(spent / max(1, events) * 1e6, 1)
    found["newcomer_beside_all_ms"] = _quantiles(await crowd.first_tokens())
    found["memory_mb"] = round(resident_memory(process.pid) / 1e6)

    await crowd.release()
    found["streams"] = len(crowd.readers)
    found["lost"] = await crowd.lost()
    return found


class _Share:
    """What a process takes of a core from now on."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/stat")
        self._spent, self._begin = self._seconds(), time.perf_counter()

    def seconds(self) -> float:
        return self._seconds() - self._spent

    def passed(self) -> float:
        return time.perf_counter() - self._begin

    def of_a_core(self) -> float:
        return self.seconds() / self.passed()

    def _seconds(self) -> float:
        fields = self._path.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _SECOND_TICKS  # proc(5): utime, stime


def _events(crowd: Crowd) -> int:
    return sum(
        data.count(b"\ndata:") for reader, _, _ in crowd.readers for _, data in reader.chunks
    )


def _quantiles(values: list[float]) -> list[float]:
    """The median and the 95th of a hundred."""
    return [round(percentile(values, percent), 1) for percent in (50, 95)]


@contextmanager
def _served(asked: argparse.Namespace, logs: Path) -> Iterator[ServerProcess]:
    running = asked.idle + asked.active + _NEWCOMERS
    command = [sys.executable, "-m", "minivault", "serve", "--port", "0", "--logs-dir", str(logs)]
    command += ["--backend", "benchmarks.patient_backend:Patient", "--offline"]
    with server([*command, "--max-running", str(running)]) as process:
        yield process


def _records(logs: Path) -> int:
    """How many the log holds. Raises MeasurementFailed unless its chain verifies."""
    command = [sys.executable, "-m", "minivault", "logs", "verify", "--logs-dir", str(logs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementFailed(f"the log does not verify: {done.stdout}{done.stderr}")
    return sum(path.read_bytes().count(b"\n") for path in logs.glob("log*.jsonl"))


def _require_files(streams: int) -> None:
    """Raises SystemExit where so many streams cannot be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"error: {wanted} open files are wanted and {hard} are allowed (ulimit)")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_ROWS = {
    "idle streams, active ones": "{idle} and {active}",
    "an idle stream takes": "{idle_stream_kb} kB",
    "all idle ones (pings) take of a core": "{idle_share_of_a_core:.1%}",
    "streams opened a second, their begin on disk": "{opened_per_second}",
    "events a second (wanted)": "{events_per_second} ({wanted_events_per_second})",
    "an event takes of a core": "{event_us} µs",
    "a newcomer's first token, ms (p50, p95): alone": "{newcomer_alone_ms}",
    "beside the idle ones": "{newcomer_beside_idle_ms}",
    "beside all": "{newcomer_beside_all_ms}",
    "memory of the server with all": "{memory_mb} MB",
    "streams that lack a word": "{lost}",
    "records asked for, in the log": "{records_wanted}, {records}",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--active", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=40, help="of measuring, in all")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    _require_files(asked.idle + asked.active)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "logs")
        with _served(asked, logs) as process:
            found = asyncio.run(measure(process, asked))
        found |= {"idle": asked.idle, "active": asked.active, "machine": describe()}
        # Three waves of newcomers, and the one who lets the idle ones speak.
        found["records_wanted"] = found["streams"] + 3 * _NEWCOMERS + 1
        found["records"] = _records(logs)
    if asked.json:
        print(json.dumps(found))
    else:
        rows = [[name, shape.format(**found)] for name, shape in _ROWS.items()]
        print(f"{sentence(found['machine'])}\n\n{markdown(['what', 'figure'], rows)}")
    if found["lost"] or found["records"] != found["records_wanted"]:
        raise SystemExit("error: something was lost")


if __name__ == "__main__":
    main()
