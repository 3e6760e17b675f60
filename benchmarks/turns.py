"""How soon a conversation's next turn begins, over HTTP: `python -m benchmarks.turns`.

Conversations of about 1,500 tokens: what the first token of the fifth turn takes, against that of a
conversation that begins with the same message, and against the fifth turn where nothing is kept.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.chat_servers import chat_request, chat_server
from benchmarks.tables import Table, report
from benchmarks.texts import PASSAGES
from minivault.bench.clients import run_wave
from minivault.bench.figures import Wave
from minivault.bench.machine import describe
from minivault.bench.process import ServerProcess
from minivault.engine.processor import available_cores

_TURNS = 5
_LIMIT = 1.5
COLUMNS = [
    "first token ms, turn five",
    "of a first turn as long as what is new",
    "times (≤ 1.5)",
    "turn five, nothing kept",
]

Messages = list[dict[str, str]]


def conversation(server: ServerProcess, number: int, tokens: int) -> tuple[Messages, float]:
    """Five turns, the last one with its question alone; seconds to its first token."""
    messages: Messages = []
    for turn in range(_TURNS):
        messages.append({"role": "user", "content": _message(number, turn)})
        wave = _ask(server, messages, tokens if turn + 1 < _TURNS else 1)
        messages.append({"role": "assistant", "content": wave.texts[0]})
    return messages[:-1], wave.arrivals[0][0]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    later, first, nothing = [], [], []
    nothing_kept = ("--prefix-memory", "0")
    with (
        chat_server(asked.model, asked.threads) as server,
        chat_server(asked.model, asked.threads, *nothing_kept) as forgetful,
    ):
        for number in range(asked.conversations + 1):
            messages, seconds = conversation(server, number, asked.tokens)
            later.append(seconds)
            # Another number, so that only the template's own beginning has been there before.
            fresh = {"role": "user", "content": _message(number + 5000, _TURNS - 1)}
            first.append(_ask(server, [fresh], 1).arrivals[0][0])
            nothing.append(_ask(forgetful, messages, 1).arrivals[0][0])
    milliseconds = {
        name: round(median(each[1:]) * 1000, 1)  # the first conversation warms up
        for name, each in (("later", later), ("first", first), ("nothing", nothing))
    }
    return {
        "machine": describe(),
        "model": asked.model.stem,
        "threads": asked.threads,
        "conversations": asked.conversations,
        "ratio": round(milliseconds["later"] / milliseconds["first"], 2),
        **milliseconds,
    }


def _message(number: int, turn: int) -> str:
    """A passage and a question about it; no two of them begin alike."""
    passage = PASSAGES[(number + turn) % len(PASSAGES)]
    return (
        f"{number}.{turn} Read this.\n\n{passage}\n\nWhat is it about? Answer in a few sentences."
    )


def _ask(server: ServerProcess, messages: Messages, tokens: int) -> Wave:
    request = chat_request(messages, seed=1, tokens=tokens, temperature=0.8)
    return asyncio.run(run_wave("127.0.0.1", server.port, [request]))


def table(result: dict[str, Any]) -> Table:
    row = [
        f"{result['later']:.0f}",
        f"{result['first']:.0f}",
        f"{result['ratio']:.2f}" if result["ratio"] <= _LIMIT else f"**{result['ratio']:.2f}**",
        f"{result['nothing']:.0f}",
    ]
    title = (
        f"{result['model']}, {result['threads']} threads, "
        f"median of {result['conversations']} conversations"
    )
    return Table(title, COLUMNS, [row])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/smollm2"), help="a chat model, as served")
    add("--conversations", type=int, default=8)
    add("--tokens", type=int, default=220, help="of each answer at most")
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
