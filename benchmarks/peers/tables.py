"""The result of a contest as tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from minivault.bench.machine import sentence
from minivault.bench.report import markdown


def in_terminal(result: dict[str, Any]) -> list[Table | str]:
    tables: list[Table | str] = [sentence(result["machine"])]
    for title, columns, rows in _tables(result):
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return [*tables, *_missing(result)]


def in_markdown(result: dict[str, Any]) -> str:
    parts = [sentence(result["machine"])]
    for title, columns, rows in _tables(result):
        parts += [f"**{title}**", markdown(columns, rows)]
    return "\n\n".join(parts + _missing(result))


def _tables(result: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    batches = sorted({row["batch"] for row in result["rows"]})
    counts = [f"{batch} at once" for batch in batches]
    workload = result["workload"]
    title = (
        f"tokens/s, {result['shape']}'s shape, {result['threads']} threads, "
        f"prompt {workload['prompt_tokens']} tokens, {workload['new_tokens']} new ones, "
        f"median of {result['rounds']}"
    )
    fastest = "MiniVault / the fastest other at the same width"
    pipeline = "MiniVault over HTTP / a pipeline in a thread per request"
    tables = [
        (title, ["", "weights", *counts], _speeds(result["rows"], batches)),
        (fastest, ["", "weights", *counts], _ratios(result["ratios"], batches)),
        (pipeline, ["", "weights", *counts], _ratios(result["pipeline_ratios"], batches)),
    ]
    return [table for table in tables if table[2]]


def _speeds(rows: list[dict[str, Any]], batches: list[int]) -> list[list[str]]:
    keys = dict.fromkeys((row["name"], row["width"], row["own_width"]) for row in rows)
    speeds = {(row["name"], row["width"], row["batch"]): row["tokens_per_second"] for row in rows}
    return [
        [name, own, *(_cell(speeds.get((name, width, batch)), "{:.0f}") for batch in batches)]
        for name, width, own in keys
    ]


def _ratios(rows: list[dict[str, Any]], batches: list[int]) -> list[list[str]]:
    keys = dict.fromkeys((row["name"], row["width"]) for row in rows)
    known = {(row["name"], row["width"], row["batch"]): row for row in rows}
    return [
        [name, width, *(_ratio(known.get((name, width, batch))) for batch in batches)]
        for name, width in keys
    ]


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['ratio']:.2f}" + (f" ({row['fastest']})" if "fastest" in row else "")


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _missing(result: dict[str, Any]) -> list[str]:
    return [f"Missing: {name}: {why}" for name, why in result["missing"].items()]
