"""`minivault logs`: look at the log, verify it, replay it. Reads the files; needs no server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from minivault.cli.logs_change import adopt, keygen, redact, repair
from minivault.cli.logs_folder import (
    LOGS,
    AsJson,
    Kept,
    LogsDir,
    PublicKey,
    Seq,
    log_in,
    progress_of,
    size_of,
)
from minivault.cli.logs_proof import (
    ask_witness,
    check,
    consistency,
    prove,
    read_proof,
    read_receipt,
    verifier_key,
)
from minivault.cli.logs_publish import gather, ship
from minivault.cli.logs_verify import verify
from minivault.cli.options import options, read_settings, takes
from minivault.errors import ChainBroken, FieldError, InvalidRequest, NotFound
from minivault.schemas import FinishReason
from minivault.settings import Settings
from minivault.vault.reader import Reader
from minivault.vault.record import Record, dump
from minivault.vault.search import Query
from minivault.vault.segments import place
from minivault.vault.signing import BadCheckpoint

app = typer.Typer(
    name="logs",
    help="Look at the log, verify it, replay it. Reads the files; needs no server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

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
    reader = log_in(logs_dir)
    newest = [line for line, _ in zip(reader.lines_backwards(), range(lines), strict=False)]
    _print(reversed(newest), as_json=as_json)
    seen = place(newest[0])[0] if newest else reader.last_seq()
    while follow:
        time.sleep(0.25)
        new = reader.following(seen)
        _print(new, as_json=as_json)
        seen += len(new)
    _exit(reader)


@app.command()
def show(seq: Seq, *, logs_dir: LogsDir = LOGS, as_json: AsJson = False) -> None:
    """Show one record as a whole."""
    record = log_in(logs_dir).get(seq)
    if as_json:
        print(json.dumps({**record.fields, "hash": record.hash}))
        return
    from minivault.cli.logs_view import print_record

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
    from minivault.cli.logs_view import read_time
    from minivault.vault import search as searching

    reader = log_in(logs_dir)
    query = Query(text, read_time("since", since), read_time("until", until), finish_reason, model)
    with progress_of("searching", size_of(reader), quiet=as_json) as progress:
        page = searching.search(reader, query, limit=limit, progress=progress)
    _print((dump(record.fields) for record in page.records), as_json=as_json)
    if page.broken:
        raise page.broken
    raise typer.Exit(0 if page.records and not reader.unreadable else 1)


@app.command()
def stats(*, logs_dir: LogsDir = LOGS, as_json: AsJson = False) -> None:
    """Sum up the log."""
    from minivault.vault.search import summarize

    reader = log_in(logs_dir)
    with progress_of("counting", size_of(reader), quiet=as_json) as progress:
        summary = summarize(reader, progress)
    if as_json:
        print(json.dumps(summary.as_dict()))
    else:
        from minivault.cli.logs_view import print_summary

        print_summary(summary)
    _exit(reader)


@app.command()
@takes(options(Settings, only=_FOR_REPLAY))
def replay(
    seq: Annotated[int | None, typer.Argument(min=1, help="The record's number.")] = None,
    *,
    logs_dir: LogsDir = LOGS,
    all_records: Annotated[bool, typer.Option("--all", help="Replay every record.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", exists=True, help="The record in such a proof.")
    ] = None,
    public_key: PublicKey = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Make the text again with the record's model, and say whether it is the same."""
    if [seq is not None, all_records, source is not None].count(True) != 1:
        raise InvalidRequest(
            [FieldError("seq", "give a record's number, or --all, or --from FILE")]
        )
    if source:
        record = read_proof(source, public_key).told_record
        seqs, get = [record.seq], {record.seq: record}.__getitem__
    else:
        reader = log_in(logs_dir)
        seqs = [seq] if seq else [place(line)[0] for line in reader.forwards()]
        get = reader.get
    from minivault.cli.replay import replay_all

    settings = read_settings(given)
    with progress_of("replaying", len(seqs), quiet=as_json or not all_records) as progress:
        differ = replay_all(settings, get, seqs, progress, as_json=as_json, quiet=all_records)
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
    from minivault.cli.logs_view import private_file, write_csv, write_jsonl

    reader = log_in(logs_dir)
    write = {"jsonl": write_jsonl, "csv": write_csv}[form]
    if output is None:
        write(reader.forwards(), sys.stdout)
        _exit(reader)
    with (
        private_file(output) as file,
        progress_of("exporting", size_of(reader), quiet=False) as progress,
    ):
        write(reader.forwards(), file, progress)
    _exit(reader)


for _command in (verify, prove, check, consistency, redact, keygen, adopt, repair, ship, gather):
    app.command()(_command)
app.command("ask-witness")(ask_witness)
app.command("verifier-key")(verifier_key)


@app.command("check-receipt")
def check_receipt(
    receipt: Annotated[
        str, typer.Argument(help='As {"seq":17,"hash":"…"} or 17:…, or a file that holds it.')
    ],
    *,
    logs_dir: LogsDir = LOGS,
    checkpoint: Kept = None,
    public_key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the log still holds the record that a receipt was given for."""
    from minivault.cli.logs_view import print_receipt
    from minivault.vault.verify import check_receipt as check

    wanted = read_receipt(receipt)
    reader = log_in(logs_dir)
    try:
        with progress_of("verifying", size_of(reader), quiet=as_json) as progress:
            there = check(
                reader.folder, wanted, progress, checkpoint=checkpoint, public_key=public_key
            )
    except (ChainBroken, BadCheckpoint, NotFound) as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "seq": wanted.seq, "reason": str(error)}))
        raise typer.Exit(1) from None
    redacted = reader.get(there).is_redacted
    if as_json:
        print(json.dumps({"ok": True, "seq": wanted.seq, "now": there, "redacted": redacted}))
    else:
        print_receipt(wanted.seq, there, redacted=redacted)


def _exit(reader: Reader) -> NoReturn:
    """The answer is no where a file could not be read: it was told, and something is missing."""
    raise typer.Exit(1 if reader.unreadable else 0)


def _print(lines: Iterable[bytes], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            print(_shown(line), flush=True)
    elif found := [Record.parse(line) for line in lines]:
        from minivault.cli.logs_view import print_records

        print_records(found)


def _shown(line: bytes) -> str:
    """The line as it stands; a strange one with all that could steer a terminal escaped."""
    is_plain = line.isascii() and line.decode("ascii").isprintable()
    return line.decode("ascii") if is_plain else json.dumps(Record.parse(line).fields)
