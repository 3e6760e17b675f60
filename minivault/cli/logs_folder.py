"""The options that all commands on a log have, and how its folder is found."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivault.errors import CannotStart, ChainBroken
from minivault.vault.reader import Reader

if TYPE_CHECKING:
    from minivault.vault.chain import Progress

LogsDir = Annotated[
    Path, typer.Option("--logs-dir", envvar="MINIVAULT_LOGS_DIR", help="Folder of the log.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Seq = Annotated[int, typer.Argument(min=1, help="The record's number, as `seq` in its line.")]
SigningKey = Annotated[
    Path | None,
    typer.Option(envvar="MINIVAULT_SIGNING_KEY", help="Needed where the checkpoint is signed."),
]
PublicKey = Annotated[
    Path | None, typer.Option(exists=True, help="The checkpoints must be signed with its key.")
]
Kept = Annotated[
    Path | None, typer.Option(exists=True, help="A checkpoint that was kept elsewhere.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LOGS = Path("logs")


def log_in(folder: Path) -> Reader:
    """Raises CannotStart if there is no log. A file that cannot be read is told on stderr."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise CannotStart(f"there is no log in {folder.absolute()}; --logs-dir says where it is")

    def tell(error: ChainBroken) -> None:
        print(f"{error}; all that can be read is shown", file=sys.stderr)

    return Reader(folder, skipped=tell)


def size_of(reader: Reader) -> int:
    """Of the whole log in bytes."""
    return sum(segment.size for segment in reader.segments())


def progress_of(title: str, total: int, *, quiet: bool) -> AbstractContextManager[Progress | None]:
    """A bar on stderr where somebody looks at it."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from minivault.cli.logs_view import bar

    return bar(title, total)
