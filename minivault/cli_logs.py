"""`minivault logs`: look at the log, verify it, replay it. Reads the files; needs no server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from minivault.cli_options import options, read_settings, takes
from minivault.errors import CannotStart, ChainBroken, FieldError, InvalidRequest, NotFound
from minivault.schemas import FinishReason
from minivault.settings import Settings
from minivault.vault.reader import Reader
from minivault.vault.record import Record, dump
from minivault.vault.search import Query
from minivault.vault.segments import place
from minivault.vault.signing import BadCheckpoint

if TYPE_CHECKING:
    from minivault.vault.chain import Progress

app = typer.Typer(
    name="logs",
    help="Look at the log, verify it, replay it. Reads the files; needs no server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

LogsDir = Annotated[
    Path, typer.Option("--logs-dir", envvar="MINIVAULT_LOGS_DIR", help="Folder of the log.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Seq = Annotated[int, typer.Argument(min=1, help="The record's number, as `seq` in its line.")]
LOGS = Path("logs")

#: What of a server's settings matters to a replay.
_FOR_REPLAY = {"models_dir", "backend", "threads", "dtype", "device", "runner"}


@app.command()
def tail(
    *,
    logs_dir: LogsDir = LOGS,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest records."""
    reader = _reader(logs_dir)
    newest = [line for line, _ in zip(reader.lines_backwards(), range(lines), strict=False)]
    _print(reversed(newest), as_json=as_json)
    seen = reader.last_seq()
    while follow:
        time.sleep(0.25)
        new = reader.following(seen)
        _print(new, as_json=as_json)
        seen += len(new)


@app.command()
def show(seq: Seq, *, logs_dir: LogsDir = LOGS, as_json: AsJson = False) -> None:
    """Show one record as a whole."""
    record = _reader(logs_dir).get(seq)
    if as_json:
        print(json.dumps({**record.fields, "hash": record.hash}))
        return
    from minivault.cli_logs_view import print_record

    print_record(record)


@app.command()
def search(
    text: Annotated[
        str | None, typer.Argument(help="What prompt or response contains, whatever its case.")
    ] = None,
    *,
    logs_dir: LogsDir = LOGS,
    since: Annotated[str | None, typer.Option(help="As 2026-11-23 or 2026-11-23T10:30.")] = None,
    until: Annotated[str | None, typer.Option(help="The same, included.")] = None,
    finish_reason: Annotated[FinishReason | None, typer.Option(help="How it ended.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Find records, newest first."""
    from minivault.cli_logs_view import read_time
    from minivault.vault import search as searching

    reader = _reader(logs_dir)
    query = Query(text, read_time("since", since), read_time("until", until), finish_reason, model)
    with _progress("searching", _size(reader), quiet=as_json) as progress:
        page = searching.search(reader, query, limit=limit, progress=progress)
    _print((dump(record.fields) for record in page.records), as_json=as_json)
    raise typer.Exit(0 if page.records else 1)


@app.command()
def stats(*, logs_dir: LogsDir = LOGS, as_json: AsJson = False) -> None:
    """Sum up the log."""
    from minivault.vault.search import summarize

    reader = _reader(logs_dir)
    with _progress("counting", _size(reader), quiet=as_json) as progress:
        summary = summarize(reader, progress)
    if as_json:
        print(json.dumps(summary.as_dict()))
        return
    from minivault.cli_logs_view import print_summary

    print_summary(summary)


@app.command()
def verify(
    *,
    logs_dir: LogsDir = LOGS,
    checkpoint: Annotated[
        Path | None, typer.Option(exists=True, help="A checkpoint that was kept elsewhere.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(exists=True, help="The checkpoints must be signed with its key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether nothing was changed and nothing is missing; if not, name the first bad line."""
    from minivault.vault import verify as verifying

    reader = _reader(logs_dir)
    try:
        with _progress("verifying", _size(reader), quiet=as_json) as progress:
            found = verifying.verify(
                logs_dir, checkpoint=checkpoint, public_key=public_key, progress=progress
            )
    except (ChainBroken, BadCheckpoint) as error:
        if not as_json:
            raise
        where = {"file": error.file, "line": error.line} if isinstance(error, ChainBroken) else {}
        print(json.dumps({"ok": False, **where, "reason": getattr(error, "reason", str(error))}))
        raise typer.Exit(1) from None
    from minivault.cli_logs_view import print_verification

    print_verification(found, as_json=as_json)


@app.command()
@takes(options(Settings, only=_FOR_REPLAY))
def replay(
    seq: Annotated[int | None, typer.Argument(min=1, help="The record's number.")] = None,
    *,
    logs_dir: LogsDir = LOGS,
    all_records: Annotated[bool, typer.Option("--all", help="Replay every record.")] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Make the text again with the record's model, and say whether it is the same."""
    if (seq is None) != all_records:
        raise InvalidRequest([FieldError("seq", "give a record's number, or --all")])
    reader = _reader(logs_dir)
    seqs = [seq] if seq else [place(line)[0] for line in reader.forwards()]
    from minivault.cli_replay import replay_all

    settings = read_settings(given)
    with _progress("replaying", len(seqs), quiet=as_json or not all_records) as progress:
        differ = replay_all(settings, reader, seqs, progress, as_json=as_json, quiet=all_records)
    raise typer.Exit(1 if differ else 0)


@app.command()
def export(
    *,
    logs_dir: LogsDir = LOGS,
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="As what.")] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to. Default: stdout.")
    ] = None,
) -> None:
    """Write all records out, oldest first."""
    from minivault.cli_logs_view import private_file, write_csv, write_jsonl

    reader = _reader(logs_dir)
    write = {"jsonl": write_jsonl, "csv": write_csv}[form]
    if output is None:
        write(reader.forwards(), sys.stdout)
        return
    with (
        private_file(output) as file,
        _progress("exporting", _size(reader), quiet=False) as progress,
    ):
        write(reader.forwards(), file, progress)


@app.command()
def redact(
    seq: Seq,
    *,
    logs_dir: LogsDir = LOGS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    signing_key: Annotated[
        Path | None,
        typer.Option(envvar="MINIVAULT_SIGNING_KEY", help="Signs the checkpoint after it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove the text of one record for good; the log says that it was removed."""
    from minivault.vault.redact import redact as remove

    reader = _reader(logs_dir)
    reader.get(seq)
    if not yes:
        typer.confirm(f"Remove prompt and response of record {seq} for good?", abort=True, err=True)
    receipt = remove(logs_dir, seq, signing_key=signing_key).receipts[seq]
    if as_json:
        print(json.dumps({"redacted": seq, "receipt": receipt.model_dump()}))
    else:
        print(f"record {seq} is redacted; record {receipt.seq} says so")


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="Where to put the private key.")] = Path(
        "minivault.key"
    ),
) -> None:
    """Make a pair of keys: one signs checkpoints, the other verifies them."""
    from minivault.vault.signing import write_keys

    public = path.with_name(f"{path.name}.pub")
    try:
        write_keys(path, public)
    except OSError as error:
        raise CannotStart(f"no keys were made: {error.strerror}: {error.filename}") from error
    print(f"private key: {path.absolute()} (for serve --signing-key; keep it from everybody)")
    print(f"public key:  {public.absolute()} (for logs verify --public-key)")


@app.command("check-receipt")
def check_receipt(
    receipt: Annotated[
        str, typer.Argument(help='As {"seq":17,"hash":"…"} or 17:…, or a file that holds it.')
    ],
    *,
    logs_dir: LogsDir = LOGS,
    as_json: AsJson = False,
) -> None:
    """Say whether the log still holds the record that a receipt was given for."""
    from minivault.cli_logs_view import read_receipt
    from minivault.vault.verify import check_receipt as check

    wanted = read_receipt(receipt)
    reader = _reader(logs_dir)
    try:
        with _progress("verifying", _size(reader), quiet=as_json) as progress:
            check(logs_dir, wanted, progress)
    except (ChainBroken, NotFound) as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "seq": wanted.seq, "reason": str(error)}))
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps({"ok": True, "seq": wanted.seq}))
    else:
        print(f"the log holds record {wanted.seq} as the receipt says")


def _reader(folder: Path) -> Reader:
    """Raises CannotStart if there is no log."""
    if not folder.is_dir():
        raise CannotStart(f"there is no log in {folder.absolute()}; --logs-dir says where it is")
    return Reader(folder)


def _size(reader: Reader) -> int:
    return sum(segment.size for segment in reader.segments())


def _print(lines: Iterable[bytes], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            print(line.decode("ascii"), flush=True)
    elif found := [Record.parse(line) for line in lines]:
        from minivault.cli_logs_view import print_records

        print_records(found)


def _progress(title: str, total: int, *, quiet: bool) -> AbstractContextManager[Progress | None]:
    """A bar on stderr where somebody looks at it."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from minivault.cli_logs_view import bar

    return bar(title, total)
