"""The tables of docs/ that are made from code: cog prints these (`make docs`)."""

from __future__ import annotations

from minivault.metrics import METRICS
from minivault.settings import Settings


def options() -> str:
    """Every setting: its option, variable, default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        flag = ("no-" if field.default is True else "") + name.replace("_", "-")
        if field.default is None or field.default_factory:
            shown = "none"
        elif isinstance(field.default, bool):
            shown = "on" if field.default else "off"
        else:
            shown = str(field.default).removesuffix(".0")
        rows.append([f"`--{flag}`", f"`MINIVAULT_{name.upper()}`", shown, field.description or ""])
    return _table(["option", "variable", "default", "what"], rows)


def metrics() -> str:
    """Every metric and what it measures."""
    return _table(["metric", "what"], [[f"`{each.name}`", each.help] for each in METRICS])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in row)} |\n" for row in lines)
