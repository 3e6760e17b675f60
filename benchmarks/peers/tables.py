"""The result of a contest as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.table import Table

from benchmarks.peers import targets
from benchmarks.peers.contenders import ENGINE, LLAMA
from minivault.bench.machine import sentence
from minivault.bench.report import markdown

Row = dict[str, Any]


def in_terminal(result: Row) -> list[Table | str]:
    tables: list[Table | str] = [sentence(result["machine"])]
    for title, columns, rows in _tables(result):
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return [*tables, *_missing(result)]


def in_markdown(result: Row) -> str:
    parts = [sentence(result["machine"])]
    for title, columns, rows in _tables(result):
        parts += [f"**{title}**", markdown(columns, rows)]
    return "\n\n".join(parts + _missing(result))


def _tables(result: Row) -> list[tuple[str, list[str], list[list[str]]]]:
    figures = list(dict.fromkeys(row["figure"] for row in result["rows"]))
    columns = ["", "weights", *figures]
    built = ", both built for AVX2" if result["avx2"] else ""
    title = (
        f"tokens/s, {result['model']}, {result['threads']} threads, "
        f"{result['workload']['new_tokens']} new tokens, best of {result['rounds']}"
    )

    names = {row["name"] for row in result["rows"] if not row["name"].startswith("MiniVault")}
    others = result["ratios"] if names != {LLAMA} else []  # else it is the table before

    def ratio(row: Row) -> str:
        return f"{row['ratio']:.2f} ({row['fastest']})" if "fastest" in row else f"{row['ratio']}"

    def beside_target(row: Row) -> str:
        wanted = targets.ratio(row["width"], row["figure"], avx2=result["avx2"])
        return _beside(row["ratio"], wanted, "{:.2f}")

    def speed(row: Row) -> str:
        return f"{row['tokens_per_second']:.0f}"

    tables = [
        (title, columns, _cells(result["rows"], figures, speed)),
        (
            f"MiniVault / llama.cpp, the same weights{built} (what it is to be; bold: it is not)",
            columns,
            _cells(result["llama_ratios"], figures, beside_target),
        ),
        (
            "MiniVault / the fastest other at the same width",
            columns,
            _cells(others, figures, ratio),
        ),
        (
            "MiniVault over HTTP / a pipeline in a thread per request",
            columns,
            _cells(result["pipeline_ratios"], figures, ratio),
        ),
        _limits(result),
    ]
    return [table for table in tables if table[2]]


def _cells(rows: list[Row], figures: list[str], shown: Callable[[Row], str]) -> list[list[str]]:
    """A line for each name and width, a column for each figure."""
    known = {(row["name"], row["own_width"], row["figure"]): row for row in rows}
    return [
        [
            name,
            width,
            *(shown(row) if (row := known.get((name, width, f))) else "" for f in figures),
        ]
        for name, width in dict.fromkeys(key[:2] for key in known)
    ]


def _limits(result: Row) -> tuple[str, list[str], list[list[str]]]:
    """Of one text what memory allows, where the bytes of the weights are known."""
    title = (
        f"one text: memory is read at {result['bandwidth_gb_s']} GB/s, which over the bytes of all "
        "weights is the limit (what the share is to be; bold: it is not)"
    )
    rows = []
    for row in result["rows"]:
        size = result["megabytes"].get(row["own_width"])
        if row["figure"] != "1 at once" or row["name"] not in (ENGINE, LLAMA) or not size:
            continue
        limit = result["bandwidth_gb_s"] * 1e3 / size
        wanted = targets.share(row["width"]) if row["name"] == ENGINE else None
        share = _beside(row["tokens_per_second"] / limit, wanted, "{:.0%}")
        rows.append([row["name"], row["own_width"], f"{size:.0f}", f"{limit:.0f}", share])
    return title, ["", "weights", "MB", "limit, tokens/s", "share"], rows


def _beside(value: float, wanted: float | None, form: str) -> str:
    if wanted is None:
        return form.format(value)
    said = f"{form.format(value)} (≥ {form.format(wanted)})"
    return said if value >= wanted else f"**{said}**"


def _missing(result: Row) -> list[str]:
    return [f"Missing: {name}: {why}" for name, why in result["missing"].items()]
