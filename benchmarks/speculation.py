"""What guessing texts ahead gains, over HTTP: `python -m benchmarks.speculation`.

Two servers of one model, one of which guesses nothing, are asked the same by turns: seven kinds of
tasks one text at a time, then six of them in company. Their texts must be the same. Every prompt
has been there once before, so that what counts is the text.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.chat_servers import chat_request, chat_server
from benchmarks.tables import Table, report
from benchmarks.texts import OTHER_EDITS, TASKS
from minivault.bench.clients import run_wave
from minivault.bench.figures import Wave
from minivault.bench.machine import describe
from minivault.bench.process import ServerProcess
from minivault.engine.processor import available_cores

_COUNTER = re.compile(r"^minivault_engine_(accepted|drafted)_total (\S+)$", re.MULTILINE)
_LEAST = {
    "edit a function": 1.4,
    "edit something else": 1.4,
    "correct and repeat": 1.3,
    "free story": 0.98,
    "free chat": 0.98,
}
_UNGUESSING = "benchmarks.unguessing_server"
COLUMNS = ["at once", "what", "tokens/s without", "with", "gain", "guesses right", "same bytes"]


@dataclass(frozen=True, slots=True)
class Texts:
    """How long they are, how they are drawn, and with how many seeds each is made."""

    tokens: int
    temperature: float
    seeds: int

    def waves(self, prompts: Sequence[str], at_once: int) -> list[list[bytes]]:
        """The requests of each wave: every prompt with every seed; the last one is filled up."""
        every = [self._request(each, seed) for seed in range(self.seeds) for each in prompts]
        size = -(-len(every) // at_once) * at_once
        every = list(islice(cycle(every), size))
        return [every[begin : begin + at_once] for begin in range(0, size, at_once)]

    def first_tokens(self, prompts: Sequence[str]) -> list[bytes]:
        """The same prompts for one token each."""
        return [self._request(each, 0, 1) for each in prompts]

    def _request(self, prompt: str, seed: int, tokens: int | None = None) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        return chat_request(messages, seed, tokens or self.tokens, self.temperature)


def compare(
    plain: ServerProcess,
    guessing: ServerProcess,
    texts: Texts,
    prompts: Sequence[str],
    at_once: int,
) -> dict[str, Any]:
    """Both servers' speed, what of the guesses was right, and whether the texts are the same."""
    for request in texts.first_tokens(prompts):
        for server in (plain, guessing):
            _wave(server, [request])
    before = _counts(guessing)
    pairs = []
    for place, requests in enumerate(texts.waves(prompts, at_once)):
        if place % 2 == 0:
            pairs.append((_wave(plain, requests), _wave(guessing, requests)))
        else:
            later = _wave(guessing, requests)
            pairs.append((_wave(plain, requests), later))
    spent = [sum(pair[which].seconds for pair in pairs) for which in (0, 1)]
    tokens = sum(pair[0].tokens for pair in pairs)
    accepted, drafted = (now - then for now, then in zip(_counts(guessing), before, strict=True))
    return {
        "at_once": at_once,
        "without": round(tokens / spent[0], 1),
        "with": round(tokens / spent[1], 1),
        "gain": round(spent[0] / spent[1], 3),
        "right": round(accepted / drafted, 3) if drafted else None,
        "same": all(one.texts == other.texts for one, other in pairs),
    }


def _wave(server: ServerProcess, requests: list[bytes]) -> Wave:
    return asyncio.run(run_wave("127.0.0.1", server.port, requests))


def _counts(server: ServerProcess) -> list[float]:
    """Of the engine's guesses so far: those that were right, and all."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        found = dict(_COUNTER.findall(answer.read().decode()))
    return [float(found["accepted"]), float(found["drafted"])]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    texts = Texts(asked.tokens, asked.temperature, asked.seeds)
    mixed = [each for some in zip(*TASKS.values(), strict=True) for each in some]
    rows, dtype = [], ("--dtype", asked.dtype)
    with (
        chat_server(asked.model, asked.threads, *dtype, module=_UNGUESSING) as plain,
        chat_server(asked.model, asked.threads, *dtype) as guessing,
    ):
        for task, prompts in {**TASKS, "edit something else": OTHER_EDITS}.items():
            found = compare(plain, guessing, texts, prompts, 1)
            rows.append({"task": task, "least": _LEAST.get(task), **found})
        for count in (8, 16):
            found = compare(plain, guessing, texts, mixed, count)
            rows.append({"task": "all of them", "least": 1.0, **found})
    return {
        "machine": describe(),
        "model": asked.model.stem,
        "dtype": asked.dtype,
        "threads": asked.threads,
        "tokens": asked.tokens,
        "temperature": asked.temperature,
        "rows": rows,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A row as words, in the order of COLUMNS."""
    gain = f"{row['gain']:.2f}"
    if row["least"]:
        gain += f" (≥ {row['least']})"
        gain = gain if row["gain"] >= row["least"] else f"**{gain}**"
    return [
        str(row["at_once"]),
        row["task"],
        f"{row['without']:.0f}",
        f"{row['with']:.0f}",
        gain,
        f"{row['right']:.0%}" if row["right"] is not None else "",
        "yes" if row["same"] else "**no**",
    ]


def table(result: dict[str, Any]) -> Table:
    rows = [cells(row) for row in result["rows"]]
    title = (
        f"{result['model']} ({result['dtype']}), {result['threads']} threads, texts of up to "
        f"{result['tokens']} tokens at temperature {result['temperature']}; "
        "the gain, and what it is to be at least"
    )
    return Table(title, COLUMNS, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speculation", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/smollm2"), help="a chat model, as served")
    add("--tokens", type=int, default=160, help="of each text at most")
    add("--temperature", type=float, default=0.8)
    add("--seeds", type=int, default=2, help="texts made of each prompt")
    add("--dtype", default="int8", help="as the servers' own option; the targets are of int8")
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
