"""`python -m benchmarks.peers`: installs the peers, runs the contest, shows the best and ratios."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.peers.contenders import ENGINE, SERVER, WIDTHS, Contender, of_a_file, of_a_shape
from benchmarks.peers.contest import (
    Contest,
    llama_ratios,
    pipeline_ratios,
    quiet_environment,
    ratios,
)
from benchmarks.peers.formats import REPOSITORY, GgufFile, Models, RandomShape, Source
from benchmarks.peers.order import Order, parse_task
from benchmarks.peers.tables import in_markdown, in_terminal
from benchmarks.peers.venv import PeersVenv
from minivault.bench.bandwidth import read_bandwidth
from minivault.bench.machine import describe
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores
from minivault.engine.tokenizer import load_tokenizer
from minivault.gguf.reader import GgufFile as Reader

_BUILD = REPOSITORY / "build"
_CHAT_MODEL = REPOSITORY / "models" / "smollm2"
_TASKS = "1,8,16,prefill512,1@2000,8@2000"
_TASKS_OF_A_SHAPE = "1,8,16,prefill512"  # GPT-2 has a context of 1024
_AVX2 = ("-march=x86-64-v3",)


def main(arguments: list[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    quiet_environment(asked.threads)
    waiting = Console(stderr=True, width=120)
    contest = _contest(asked)
    with waiting.status("installing what is missing, writing the models ..."):
        contest.prepare()
    if asked.prepare:
        return
    if asked.keep and asked.keep.exists():
        contest.go_on(asked.keep)
    bandwidths = [read_bandwidth(asked.threads)]

    def report(contender: Contender, figure: str, speed: float) -> None:
        waiting.print(f"{contender.label}, {figure}: {speed:.0f} tokens/s", highlight=False)
        if asked.keep:
            contest.keep(asked.keep)

    with waiting.status("measuring ..."):
        for _ in range(asked.rounds):
            contest.run(1, report)
            bandwidths.append(read_bandwidth(asked.threads))
    _show(asked, _result(asked, contest, max(bandwidths)))


def _contest(asked: argparse.Namespace) -> Contest:
    venv = PeersVenv(_BUILD / "peers-venv", avx2=asked.avx2)
    source = _source(asked)
    models = Models(_BUILD / "peers-models" / source.name, source, venv.python)
    tasks = [parse_task(each, asked.tokens) for each in _words(asked)]
    workload = Workload(
        prompt_tokens=max(task.prompt_tokens for task in tasks), new_tokens=asked.tokens
    )
    tokenizer = load_tokenizer(models.folder)
    ids = workload.prompt(tokenizer.encode)
    order = Order(
        model="",
        width="",
        threads=asked.threads,
        tasks=tuple(tasks),
        prompt=tokenizer.decode(ids[:32]),
        prompt_ids=tuple(ids),
        workload=workload,
        target=_AVX2 if asked.avx2 else (),
    )
    everybody = of_a_shape() if asked.shape else of_a_file()
    # Who is compared runs one after the other: minutes later the machine may be another.
    chosen = sorted(
        (each for each in everybody if _is_asked(each, asked)),
        key=lambda each: WIDTHS.index(each.width),
    )
    return Contest(chosen, order, models, venv)


def _source(asked: argparse.Namespace) -> Source:
    if asked.shape:
        return RandomShape(asked.shape)
    files = sorted(asked.model.glob("*.gguf")) if asked.model.is_dir() else [asked.model]
    if not files or not files[0].is_file():
        raise SystemExit(f"error: there is no GGUF file in {asked.model}; minivault pull smollm2")
    return GgufFile(files[0])


def _words(asked: argparse.Namespace) -> list[str]:
    return list((asked.tasks or (_TASKS_OF_A_SHAPE if asked.shape else _TASKS)).split(","))


def _is_asked(contender: Contender, asked: argparse.Namespace) -> bool:
    names = [each.lower() for each in asked.only or [""]]
    named = any(name in contender.name.lower() for name in names)
    if asked.avx2 and contender.name not in (ENGINE, "llama.cpp"):
        return False  # the others choose their vectors by themselves
    return named and contender.width in (asked.dtype or [contender.width])


def _result(asked: argparse.Namespace, contest: Contest, bandwidth: float) -> dict[str, Any]:
    rows = contest.rows()
    kinds = {each.own_width for each in contest.contenders if each.format == "gguf"}
    return {
        "machine": describe(),
        "model": _source(asked).name,
        "avx2": asked.avx2,
        "threads": asked.threads,
        "rounds": max((len(row["runs"]) for row in rows), default=0),
        "bandwidth_gb_s": round(bandwidth / 1e9, 1),
        "megabytes": {} if asked.shape else {kind: _megabytes(contest, kind) for kind in kinds},
        "workload": contest.order.workload.fields(),
        "rows": rows,
        "ratios": ratios(rows),
        "llama_ratios": llama_ratios(rows),
        "pipeline_ratios": pipeline_ratios(rows),
        "missing": contest.missing,
    }


def _megabytes(contest: Contest, kind: str) -> float:
    """Of the weights in a file."""
    file = Reader.open(contest.models.gguf(kind))
    return sum(each.blocks.nbytes for each in file.tensors.values()) / 1e6


def _show(asked: argparse.Namespace, result: dict[str, Any]) -> None:
    if asked.markdown:
        print(in_markdown(result))
    elif not asked.json:
        Console(width=140).print(*in_terminal(result), sep="\n")
    if asked.json:
        print(json.dumps(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object as the last line")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--model", type=Path, default=_CHAT_MODEL, help="a chat model: a GGUF file or its folder")
    add("--shape", help="random weights of this GPT-2's shape instead: distilgpt2, gpt2, tiny")
    add("--dtype", action="append", choices=WIDTHS, help="this width alone (repeatable)")
    add("--tasks", help=f"what is measured; {_TASKS}, of shapes {_TASKS_OF_A_SHAPE}")
    add("--only", action="append", help=f"names with this in them: {ENGINE}, {SERVER}, llama ...")
    add("--rounds", type=int, default=3, help="how often everybody is measured")
    add("--tokens", type=int, default=120, help="new tokens of each text")
    add("--threads", type=int, default=available_cores(), help="threads of each model")
    add("--avx2", action="store_true", help="llama.cpp and the engine built for AVX2 alone")
    add("--keep", type=Path, help="a file of figures: goes on with those, and adds its own")
    add("--prepare", action="store_true", help="install and convert, and measure nothing")
    return parser


if __name__ == "__main__":
    main()
