"""What a measurement prints: tables in the terminal, Markdown for RESULTS.md, or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

from minivault.bench.machine import sentence
from minivault.bench.report import markdown


class Table(NamedTuple):
    """Its rows have a cell for each column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def add_forms(parser: argparse.ArgumentParser) -> None:
    """The options that `show` reads."""
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")


def show(asked: argparse.Namespace, result: dict[str, Any], *tables: Table) -> None:
    """Prints a result, whose `machine` says where it was measured, as it is `asked` for."""
    if asked.json:
        print(json.dumps(result))
    elif asked.markdown:
        parts = [
            f"**{title}**\n\n{markdown(list(columns), [list(row) for row in rows])}"
            for title, columns, rows in tables
        ]
        print("\n\n".join([sentence(result["machine"]), *parts]))
    else:
        for title, columns, rows in tables:
            table = RichTable(*columns, title=title)
            for row in rows:
                table.add_row(*row)
            Console(width=120).print(table)
