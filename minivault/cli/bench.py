"""`minivault bench`: how fast the served model is on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivault.errors import FieldError, InvalidRequest
from minivault.settings import Settings

if TYPE_CHECKING:
    from minivault.bench.suite import Suite

_QUICK = {"prompt_tokens": 32, "new_tokens": 24, "rounds": 1}


def bench(
    model: Annotated[
        str | None, typer.Option(help="Model to measure: a name or a folder. Default: as served.")
    ] = None,
    models_dir: Annotated[Path, typer.Option(help="Folder of the models.")] = Path("models"),
    shape: Annotated[
        str | None,
        typer.Option(help="Measure random weights of this shape instead: distilgpt2, gpt2, tiny."),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="Width of the weights (repeatable). Default: all of them."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model. Default: one per core.")
    ] = None,
    runner: Annotated[
        str, typer.Option(help="What computes: auto, native or transformers.")
    ] = "auto",
    at_once: Annotated[
        str | None,
        typer.Option(help="How many at once, separated by commas. Default: 1,2,4,8,16,32."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="New tokens of each text.")] = 120,
    rounds: Annotated[int, typer.Option(min=1, help="Waves to take the median of.")] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: one width, 1 and 8 at once, few tokens.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown.")
    ] = False,
) -> None:
    """Measure the bare engine and the server on this machine."""
    from minivault.bench.suite import AT_ONCE, DTYPES, RUNNERS, Suite
    from minivault.bench.workload import Workload
    from minivault.engine.processor import available_cores

    widths = tuple(dtype or (DTYPES if not quick else ("float32",)))
    if wrong := set(widths) - set(DTYPES):
        raise InvalidRequest(
            [FieldError("--dtype", f"{wrong.pop()} is none of {', '.join(DTYPES)}")]
        )
    if runner not in RUNNERS:
        raise InvalidRequest([FieldError("--runner", f"{runner} is none of {', '.join(RUNNERS)}")])
    default = (1, 8) if quick else AT_ONCE
    counts = _counts(at_once, default) if at_once is not None else default
    workload = Workload(**_QUICK) if quick else Workload(new_tokens=tokens, rounds=rounds)
    with _model(model, models_dir, shape) as (name, folder):
        suite = Suite(
            name=name,
            folder=folder,
            threads=threads or available_cores(),
            runner=runner,
            random_weights=shape is not None,
            dtypes=widths,
            at_once=counts,
            workload=workload,
        )
        _run(suite, as_json=as_json, as_markdown=as_markdown)


def _run(suite: Suite, *, as_json: bool, as_markdown: bool) -> None:
    """Measures, shows each row when it is there, and all of them at the end."""
    from rich.console import Console

    from minivault.bench import report
    from minivault.bench.bandwidth import read_bandwidth

    # The last line of stdout is the JSON; what comes while one waits belongs to people.
    console, waiting = Console(), Console(stderr=True)
    bandwidth = read_bandwidth(suite.threads)
    heading = suite.heading(bandwidth)
    for line in report.introduction(heading):
        waiting.print(line, style="dim", highlight=False)
    rows: list[dict[str, Any]] = []
    with waiting.status("measuring ..."):
        for row in suite.rows(bandwidth):
            rows.append(row)
            waiting.print(report.spoken(row), style="dim", highlight=False)
    if as_markdown:
        print("\n\n".join(report.introduction(heading)))
        print("\n" + report.markdown(report.COLUMNS, [report.cells(row) for row in rows]))
    elif not as_json:
        console.print(report.table(rows))
    if as_json:
        print(json.dumps({**heading, "rows": rows}))


@contextmanager
def _model(model: str | None, models_dir: Path, shape: str | None) -> Iterator[tuple[str, Path]]:
    """The name and the folder of what is measured: a model that never ends its texts."""
    from minivault.bench.models import SHAPES, make_endless_copy, make_random_model
    from minivault.model_store import ModelStore

    with tempfile.TemporaryDirectory() as place:
        if shape is None:
            # What `minivault serve` would serve now, without a download.
            store = ModelStore(models_dir.expanduser(), offline=True)
            served = store.choose(model or Settings().model).model
            assert served is not None  # offline, nothing is left to be downloaded
            yield served.name, make_endless_copy(served.folder, Path(place) / "model")
        elif shape in SHAPES:
            yield f"{shape}'s shape", make_random_model(Path(place) / shape, SHAPES[shape])
        else:
            known = ", ".join(SHAPES)
            raise InvalidRequest([FieldError("--shape", f"{shape} is none of {known}")])


def _counts(text: str, default: tuple[int, ...]) -> tuple[int, ...]:
    try:
        counts = tuple(int(each) for each in text.split(",") if each.strip())
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        example = ",".join(map(str, default))
        raise InvalidRequest(
            [FieldError("--at-once", f"must be numbers from 1, such as {example}")]
        )
    return counts
