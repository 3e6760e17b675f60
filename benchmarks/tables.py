"""What a measurement prints: tables in the terminal, Markdown for RESULTS.md, or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
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


def report(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    tables: Callable[[dict[str, Any]], Table | list[Table]],
) -> None:
    """Measures what is asked for, and prints it in the form that is asked for.

    The `machine` of a result says where it was measured. The parser gets the options of the forms.
    """
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args(arguments)
    result = measure(asked)
    made = tables(result)
    _show(asked, result, made if isinstance(made, list) else [made])


def _show(asked: argparse.Namespace, result: dict[str, Any], tables: list[Table]) -> None:
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
