"""What a text that is held to a schema costs those beside it: `python -m benchmarks.schemas`.

Eight readers in one engine: alone, beside one text more that is free, and beside one that is held
to a light schema, and to one whose masks take long.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tables import Table, report
from minivault.bench.machine import describe
from minivault.engine.engine import Engine
from minivault.engine.loading import load_runner
from minivault.engine.processor import available_cores
from minivault.engine.runner import Runner
from minivault.engine.sequence import SamplingParams, Sequence
from minivault.engine.tokenizer import Tokenizer, load_tokenizer

SCHEMAS: dict[str, Any] = {
    "nobody": None,
    "a free text": None,
    "a light schema": {"type": "string", "minLength": 2000},
    "a heavy pattern": {"type": "string", "pattern": "^(.*a.{20}.*b.{30}.*c.{35}|.*d.{40})$"},
}
COLUMNS = ["beside", "readers, tokens/s", "of a free text's (≥ 0.90)", "the text itself"]
_PROMPT = "Tell me a long story about a river, number"


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    (file,) = [*asked.model.glob("*.gguf")] or [asked.model]
    tokenizer = load_tokenizer(file)
    runner = load_runner(
        file, dtype="auto", threads=asked.threads, runner="native", tokens=tokenizer.size
    )
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in SCHEMAS}
    for _ in range(asked.rounds):
        for name, schema in SCHEMAS.items():
            rates[name].append(_round(runner, tokenizer, name, schema, asked))
    rows = {
        name: tuple(round(median(column), 1) for column in zip(*found, strict=True))
        for name, found in rates.items()
    }
    return {"machine": describe(), "model": file.stem, "threads": asked.threads, "rates": rows}


def _round(
    runner: Runner, tokenizer: Tokenizer, name: str, schema: Any, asked: argparse.Namespace
) -> tuple[float, float]:
    """Tokens a second: of the readers together, and of the text beside them."""
    engine = Engine(runner)

    def text(seed: int, tokens: int) -> Sequence:
        prompt = tokenizer.encode(f"{_PROMPT} {seed}.")
        params = SamplingParams(tokens, temperature=1, top_k=50, seed=seed)
        return Sequence(prompt, params, tokenizer.text(prompt))

    readers = [text(seed, asked.tokens) for seed in range(asked.readers)]
    beside = [text(100, asked.tokens)] if name != "nobody" else []
    if schema:
        form = {"type": "json_schema", "schema": schema}
        beside[0].constraint = tokenizer.constrain(form)
    for each in [*readers, *beside]:
        engine.add(each)
    engine.step()
    began = time.monotonic()
    while all(each.state != "ended" for each in [*readers, *beside]):
        engine.step()
    seconds = time.monotonic() - began
    found = [sum(len(each.generated) - 1 for each in some) / seconds for some in (readers, beside)]
    for each in [*readers, *beside]:
        engine.cancel(each)
    engine.step()
    engine.close()
    return found[0], found[1]


def table(result: dict[str, Any]) -> Table:
    free = result["rates"]["a free text"][0]
    rows = []
    for name, (readers, own) in result["rates"].items():
        ratio = f"{readers / free:.2f}" if SCHEMAS[name] else ""
        told = ratio if readers >= 0.9 * free or not ratio else f"**{ratio}**"
        rows.append([name, f"{readers:.0f}", told, f"{own:.0f}" if own else ""])
    return Table(f"{result['model']}, {result['threads']} threads", COLUMNS, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemas", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/smollm2"), help="a chat model's folder or file")
    add("--readers", type=int, default=8)
    add("--tokens", type=int, default=100)
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
