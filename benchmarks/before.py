"""The engine as it is beside what it was: `python -m benchmarks.before COMMIT`.

Both run the same random weights by turns, each in processes of its own, the older one from a
worktree of that commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tables import Table, report
from minivault.bench.machine import describe
from minivault.bench.models import SHAPES, make_random_model
from minivault.bench.suite import DTYPES
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores

_REPOSITORY = Path(__file__).parents[1]
COLUMNS = ["weights", "at once", "tokens/s before", "now", "now / before"]


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The repository as it was at a commit."""
    git = ["git", "-C", str(_REPOSITORY), "worktree"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "before"
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def speeds(code: Path, order: dict[str, Any]) -> dict[int, float]:
    """Tokens per second for each number at once, by the code of a folder."""
    command = [sys.executable, "-m", "minivault.bench.bare", json.dumps(order)]
    # Before anything that is installed, and before the folder that this runs in.
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.PIPE)
    rows = map(json.loads, done.stdout.splitlines())
    return {row["at_once"]: row["tokens_per_second"] for row in rows}


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with worktree(asked.commit) as before, tempfile.TemporaryDirectory() as place:
        folder = make_random_model(Path(place), SHAPES[asked.shape])
        for dtype in asked.dtype or DTYPES:
            order = {
                "folder": str(folder),
                "dtype": dtype,
                "threads": asked.threads,
                "at_once": asked.batches,
                "workload": Workload(rounds=1).fields(),
            }
            pairs = [
                (speeds(before, order), speeds(_REPOSITORY, order)) for _ in range(asked.rounds)
            ]
            for batch in asked.batches:
                old, new = (median(pair[which][batch] for pair in pairs) for which in (0, 1))
                rows.append({"dtype": dtype, "batch": batch, "before": old, "now": new})
    return {"machine": describe(), "commit": asked.commit, "rows": rows} | {
        name: getattr(asked, name) for name in ("shape", "rounds", "threads")
    }


def table(result: dict[str, Any]) -> Table:
    rows = [
        [
            row["dtype"],
            str(row["batch"]),
            f"{row['before']:.0f}",
            f"{row['now']:.0f}",
            f"{row['now'] / row['before']:.2f}",
        ]
        for row in result["rows"]
    ]
    title = (
        f"{result['shape']}'s shape, {result['threads']} threads, before: {result['commit']}; "
        f"median of {result['rounds']}"
    )
    return Table(title, COLUMNS, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__)
    add = parser.add_argument
    add("commit", help="what to compare with")
    add("--dtype", action="append", choices=DTYPES)
    add("--shape", default="distilgpt2", choices=list(SHAPES))
    add("--batches", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8, 16])
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
