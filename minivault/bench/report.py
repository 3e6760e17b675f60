"""Shows rows of figures: as a table for people, as Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from minivault.bench.machine import sentence

COLUMNS = (
    "weights",
    "what",
    "at once",
    "tokens/s",
    "first token ms (p50, p95)",
    "between tokens ms (p50, p95)",
    "memory MB",
    "share of the limit",
)


def cells(row: dict[str, Any]) -> list[str]:
    """A row as words, in the order of COLUMNS. The limit binds a single sequence only."""
    return [
        row["dtype"],
        row["what"],
        str(row["at_once"]),
        f"{row['tokens_per_second']:.0f}",
        f"{row['first_token_p50']:.1f}, {row['first_token_p95']:.1f}",
        f"{row['between_p50']:.2f}, {row['between_p95']:.2f}",
        str(row["memory_mb"]),
        f"{row['share']:.0%}" if row["at_once"] == 1 else "",
    ]


def introduction(heading: dict[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    workload = heading["workload"]
    kind = "of random weights " if heading["random_weights"] else ""
    return [
        sentence(heading["machine"]),
        f"{heading['model']} {kind}({heading['weights'] / 1e6:.1f}M), "
        f"{heading['threads']} threads, prompt {workload['prompt_tokens']} tokens, "
        f"{workload['new_tokens']} new ones, "
        f"top-k {workload['top_k']}, top-p {workload['top_p']}; medians of {workload['rounds']}",
        f"memory is read at {heading['bandwidth_gb_s']} GB/s; the limit of a single sequence is "
        "that over the bytes of all weights",
    ]


#: The same for a terminal of 80 columns; `CAPTION` says the rest.
SHORT = ("weights", "what", "at once", "tokens/s", "first", "between", "MB", "of limit")
CAPTION = (
    "first, between: ms to the first token and between two, p50 and p95. of limit: over "
    "100 % where weights are read from the processor's cache, not from memory."
)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """For the terminal."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=CAPTION, caption_justify="left")
    for name in SHORT:
        shown.add_column(name, justify="left" if name in ("weights", "what") else "right")
    for place, row in enumerate(rows):
        following = rows[place + 1] if place + 1 < len(rows) else row
        shown.add_row(*cells(row), end_section=following["what"] != row["what"])
    return shown


def spoken(row: dict[str, Any]) -> str:
    """A row as it comes, for somebody who waits for the others."""
    return (
        f"{row['dtype']}, {row['what']}, {row['at_once']} at once: {row['tokens_per_second']:.0f} "
        f"tokens/s, the first after {row['first_token_p50']:.1f} ms"
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a page."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
