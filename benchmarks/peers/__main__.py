"""`python -m benchmarks.peers`: installs the peers, runs the contest, shows medians and ratios."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console

from benchmarks.peers.contenders import CONTENDERS, ENGINE, SERVER, Contender
from benchmarks.peers.contest import Contest, pipeline_ratios, quiet_environment, ratios
from benchmarks.peers.formats import REPOSITORY, Models
from benchmarks.peers.order import Order
from benchmarks.peers.tables import in_markdown, in_terminal
from benchmarks.peers.venv import PeersVenv
from minivault.bench.machine import describe
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores
from minivault.engine.tokenizer import load_tokenizer

_BUILD = REPOSITORY / "build"


def main(arguments: list[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    quiet_environment(asked.threads)
    waiting = Console(stderr=True, width=120)
    contest = _contest(asked)
    with waiting.status("installing what is missing ..."):
        contest.install()

    def report(contender: Contender, batch: int, speed: float) -> None:
        waiting.print(f"{contender.label}, {batch} at once: {speed:.0f} tokens/s", highlight=False)

    with waiting.status("measuring ..."):
        contest.run(asked.rounds, report)
    _show(asked, _result(asked, contest))


def _contest(asked: argparse.Namespace) -> Contest:
    venv = PeersVenv(_BUILD / "peers-venv")
    models = Models(_BUILD / "peers-models", asked.shape, venv.python)
    tokenizer = load_tokenizer(models.folder)
    workload = Workload(new_tokens=asked.tokens)
    ids = workload.prompt(tokenizer.encode)
    order = Order(
        model="",
        width="",
        threads=asked.threads,
        batches=tuple(asked.batches),
        prompt=tokenizer.decode(ids),
        prompt_ids=tuple(ids),
        workload=workload,
    )
    chosen = [each for each in CONTENDERS if _is_asked(each, asked)]
    return Contest(chosen, order, models, venv)


def _is_asked(contender: Contender, asked: argparse.Namespace) -> bool:
    names = [each.lower() for each in asked.only or [""]]
    named = any(name in contender.name.lower() for name in names)
    return named and contender.width in (asked.dtype or [contender.width])


def _result(asked: argparse.Namespace, contest: Contest) -> dict[str, Any]:
    rows = contest.rows()
    return {
        "machine": describe(),
        "shape": asked.shape,
        "threads": asked.threads,
        "rounds": asked.rounds,
        "workload": contest.order.workload.fields(),
        "rows": rows,
        "ratios": ratios(rows),
        "pipeline_ratios": pipeline_ratios(rows),
        "missing": contest.missing,
    }


def _show(asked: argparse.Namespace, result: dict[str, Any]) -> None:
    if asked.markdown:
        print(in_markdown(result))
    elif not asked.json:
        Console(width=120).print(*in_terminal(result), sep="\n")
    if asked.json:
        print(json.dumps(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    widths = ["float32", "bfloat16", "int8"]
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object as the last line")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--dtype", action="append", choices=widths, help="this width alone (repeatable)")
    add("--batches", type=_numbers, default=[1, 8, 16], help="how many at once: 1,8,16")
    add("--only", action="append", help=f"names with this in them: {ENGINE}, {SERVER}, llama ...")
    add("--rounds", type=int, default=3, help="how often everybody is measured")
    add("--tokens", type=int, default=120, help="new tokens of each text")
    add("--threads", type=int, default=available_cores(), help="threads of each model")
    add("--shape", default="distilgpt2", help="the shape of the random model")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    main()
