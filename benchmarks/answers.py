"""How often a small chat model answers plain questions rightly: `python -m benchmarks.answers`.

Drawn as its card has it, with MiniVault's penalty of 1.1, and greedily, at each width of its
weights. The numbers depend on texts alone, so a busy machine gives the same.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import Any

from benchmarks.chat_servers import chat_server
from benchmarks.tables import Table, report
from minivault.bench.clients import http_request, run_wave
from minivault.bench.machine import describe
from minivault.bench.process import ServerProcess
from minivault.engine.processor import available_cores

#: As the model card of SmolLM2-135M-Instruct calls `generate`.
CARD = {"temperature": 0.2, "top_p": 0.9}
FRANCE = "What is the capital of France?"
_SAYS_PARIS = r"((the )?capital( city)? of France is |it is |it's )?(the city of )?Paris\b"
_AT_ONCE = 16
#: What the first sentence of a right answer holds.
FACTS = {
    "What is the capital of Italy?": r"\bRome\b",
    "What is the capital of Japan?": r"\bTokyo\b",
    "What is the capital of Germany?": r"\bBerlin\b",
    "What is the capital of Spain?": r"\bMadrid\b",
    "What is the capital of England?": r"\bLondon\b",
    "What is the capital of Russia?": r"\bMoscow\b",
    "What is the capital of Egypt?": r"\bCairo\b",
    "What is the largest planet in the solar system?": r"\bJupiter\b",
    "Who wrote Romeo and Juliet?": r"\bShakespeare\b",
    "How many days are in a week?": r"\b(seven|7)\b",
    "What is 2 + 2?": r"\b(four|4)\b",
    "What color is the sky on a clear day?": r"\bblue\b",
    "What is the chemical symbol for water?": r"\bH(2|₂)O\b",
    "What is the largest ocean on Earth?": r"\bPacific\b",
    "Who painted the Mona Lisa?": r"\b(Leonardo|Vinci)\b",
    "How many legs does a spider have?": r"\b(eight|8)\b",
    "Who was the first president of the United States?": r"\bWashington\b",
    "What is the tallest mountain in the world?": r"\bEverest\b",
}
COLUMNS = ["weights", "capital of France, drawn", "greedily", "facts, drawn", "greedily"]


def is_right(question: str, answer: str) -> bool:
    """Whether the answer begins with what is true."""
    first = re.split(r"(?<=[.!?])\s|\n", answer.strip(), maxsplit=1)[0]
    if question == FRANCE:
        return re.match(_SAYS_PARIS, first, re.IGNORECASE) is not None
    return re.search(FACTS[question], first, re.IGNORECASE) is not None


def right_of(server: ServerProcess, asked: list[tuple[str, dict[str, Any]]]) -> str:
    """How many of the answers to these questions, each with its parameters, are right."""
    right = 0
    for begin in range(0, len(asked), _AT_ONCE):
        some = asked[begin : begin + _AT_ONCE]
        requests = [
            http_request({"messages": [{"role": "user", "content": question}], **params})
            for question, params in some
        ]
        texts = asyncio.run(run_wave("127.0.0.1", server.port, requests)).texts
        right += sum(
            is_right(question, text) for (question, _), text in zip(some, texts, strict=True)
        )
    return f"{right} of {len(asked)}"


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    drawn = [{**CARD, "seed": seed, "max_tokens": 48} for seed in range(asked.seeds)]
    few, greedy = drawn[: asked.seeds // 5], [{"temperature": 0, "max_tokens": 48}]
    rows = []
    for dtype in asked.dtypes.split(","):
        with chat_server(asked.model, asked.threads, "--dtype", dtype) as server:
            found = [
                right_of(server, [(question, params) for question in questions for params in how])
                for questions, how in (
                    ([FRANCE], drawn),
                    ([FRANCE], greedy),
                    (FACTS, few),
                    (FACTS, greedy),
                )
            ]
        rows.append([dtype, *found])
    return {"machine": describe(), "model": asked.model.stem, "rows": rows}


def table(result: dict[str, Any]) -> Table:
    title = f"{result['model']}: right answers, drawn by its card's parameters and greedily"
    return Table(title, COLUMNS, result["rows"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/smollm2"), help="a chat model, as served")
    add("--dtypes", default="auto,int8,bfloat16,float32", help="widths of its weights")
    add("--seeds", type=int, default=40, help="answers drawn of the first question")
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
