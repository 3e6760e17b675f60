"""`minivault doctor`: prints what it finds as it finds it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from minivault.cli.options import MODEL_AND_LOG, options, read_settings, takes
from minivault.settings import Settings

_MARKS = {"good": "good   ", "costs": "costs  ", "broken": "BROKEN "}


@takes(options(Settings, only={*MODEL_AND_LOG, "max_running", "max_waiting"}))
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    **given: Any,
) -> None:
    """Say what this machine gives MiniVault, what costs speed or a promise, and what mends it.

    The exit code is 1 where something promised does not hold.
    """
    settings = read_settings(given)
    from minivault.doctor import examine

    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            remedy = f"\n{'':<17}→ {finding.remedy}" if finding.remedy else ""
            print(
                f"{_MARKS[finding.verdict]} {finding.subject:<9} {finding.text}{remedy}", flush=True
            )
    broken = any(each.verdict == "broken" for each in findings)
    if as_json:
        print(json.dumps({"healthy": not broken, "findings": [asdict(each) for each in findings]}))
    raise typer.Exit(1 if broken else 0)
