"""How `minivault logs` shows records: tables, one record, sums, CSV, progress."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from minivault.errors import CannotStart, FieldError, InvalidRequest
from minivault.vault.chain import Progress
from minivault.vault.record import Record
from minivault.vault.search import Summary, questions
from minivault.vault.verify import Verification

#: The columns of `export --format csv`: a name, and where it is in the record.
COLUMNS = {
    "seq": ("seq",),
    "timestamp": ("timestamp",),
    "prompt": ("prompt",),
    "response": ("response",),
    "id": ("id",),
    "finish_reason": ("finish_reason",),
    "model": ("model", "name"),
    "model_sha256": ("model", "sha256"),
    "seed": ("seed",),
    "client": ("client",),
    "prompt_tokens": ("usage", "prompt_tokens"),
    "completion_tokens": ("usage", "completion_tokens"),
    "total_ms": ("timings", "total_ms"),
    "continues": ("continues",),
    "replays": ("replays",),
    "prev": ("prev",),
}

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# East Asian spreadsheets take the wide forms for what they look like.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "'")
_SOME_TIME = "2000-01-01T00:00:00.000Z"
_REASON_STYLES = {"stop": "green", "length": "green", "error": "red"}


def printable(text: str) -> str:
    """The text with what would steer a terminal shown instead of sent, as `\\x1b`."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def numbers(seqs: list[int]) -> str:
    """`record 4`, or `records 4, 7`."""
    return f"record{'s' * (len(seqs) > 1)} {', '.join(map(str, seqs))}"


def print_records(records: Iterable[Record]) -> None:
    """One row each: what was asked, what was said, shortened to the terminal's width."""
    console, today = Console(), datetime.now(UTC).strftime("%Y-%m-%d")
    rows: list[tuple[str, str, str]] = []
    listed = list(records)
    for record in listed:
        day, _, clock = printable(record.timestamp[:19]).partition("T")
        reason = printable(str(record.finish_reason or _kind(record)))
        rows.append((str(record.seq), clock if day == today else f"{day} {clock}", reason))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = console.width - sum(widths) - 2 * len(widths)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, expand=True)
    for ratio in (None, None, None, 1):
        table.add_column(ratio=ratio, no_wrap=True, overflow="ellipsis")
    for (seq, time, reason), record in zip(rows, listed, strict=True):
        style = _REASON_STYLES.get(reason, "yellow")
        table.add_row(seq, time, Text(reason, style=style), _both(record, room))
    console.print(table)


def print_record(record: Record) -> None:
    """All of one record: the text as it is, the rest as a table."""
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in {**record.fields, "hash": record.hash}.items():
        if key not in ("prompt", "response"):
            shown = value if isinstance(value, str) else json.dumps(value)
            title = Text(printable(key), style="bold")
            table.add_row(title, Text(printable(shown), overflow="fold"))
    console.print(table)
    for name in ("prompt", "response"):
        console.print(f"\n[bold]{name}[/bold]")
        text = record.fields.get(name)
        console.print(Text(printable(text if isinstance(text, str) else _absence(record))))


def print_summary(summary: Summary) -> None:
    """A line each; the days of a long log are as many lines as there are days."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in summary.as_dict().items():
        parts = value.items() if isinstance(value, dict) else [(value, None)]
        shown = "\n".join(_sum(name, *part) for part in parts) or "none"
        table.add_row(Text(name.replace("_", " "), style="bold"), Text(shown, overflow="fold"))
    Console().print(table)


def _sum(name: str, value: object, times: int | None) -> str:
    if times is not None:
        return f"{printable(str(value))} {times:,}"
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"{value:,} bytes" if name == "size" else f"{value:,}"
    return printable(str(value))


def print_verification(found: Verification, *, as_json: bool) -> None:
    """What was found, and what it does not prove."""
    if as_json:
        print(json.dumps({"ok": True, "records": found.records, **asdict(found)}))
        return
    if not found.records:
        return print("the log is empty")
    print(f"ok: records {found.first} to {found.last} follow each other unchanged")
    print(f"head: {found.head}")
    if not found.checkpoint:
        print("note: there is no checkpoint, so a cut end would not be seen")
    elif found.is_signed:
        print(f"the signed checkpoint vouches for record {found.checkpoint} and all before it")
    if found.tree:
        print(f"the tree is made of the same records, up to record {found.tree}")
    else:
        print("note: there is no tree, so no record can be proven alone")
    if found.redacted:
        print(f"redacted: {', '.join(map(str, found.redacted))}")
    if found.unproven:
        written = f"{numbers(list(found.unproven))}, written by version 0.1.0"
        print(f"note: {written}: what is left of them is vouched for since the redaction only")
    for seq in found.unfinished:
        print(f"note: the redaction of record {seq} is not finished; redact it again")


def print_receipt(seq: int, now: int, *, redacted: bool) -> None:
    """That the log holds the record of a receipt, and what of it the receipt cannot prove."""
    if redacted:
        print(f"the log names the hash of record {seq}, which was redacted, as the receipt says")
        print(
            "note: what is left of it is proven by a later receipt or a kept checkpoint, not this"
        )
    elif now == seq:
        print(f"the log holds record {seq} as the receipt says")
    if now != seq:
        print(f"the log holds what was record {seq}: since a repair it is record {now}")


def print_proof(told: dict[str, Any]) -> None:
    """What `minivault logs check` found; nothing of it is ours."""
    record = told.get("record")
    if record:
        print_record(Record(told["seq"], told["hash"], record))
        print()
    print("ok: the proof is good\n\nproven:")
    for each in told["proven"]:
        print(printable(f"  * {each}"))
    print("\nnot proven:")
    for each in told["not_proven"]:
        print(printable(f"  * {each}"))


def read_time(name: str, text: str | None) -> str | None:
    """The beginning of a timestamp as the log has it. Raises InvalidRequest."""
    if text is None:
        return None
    text = text.replace(" ", "T")
    try:
        datetime.strptime(text + _SOME_TIME[max(4, len(text)) :], "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        message = "is a time in UTC, as 2026-11-23 or 2026-11-23T10:30"
        raise InvalidRequest([FieldError(name, message)]) from None
    return text


def write_jsonl(lines: Iterable[bytes], file: IO[str], progress: Progress | None = None) -> None:
    """The lines as they are: what is written can be verified as the log can."""
    for line in lines:
        file.write(line.decode("ascii") + "\n")
        if progress:
            progress(len(line) + 1)


def write_csv(lines: Iterable[bytes], file: IO[str], progress: Progress | None = None) -> None:
    """One row per record, as RFC 4180 has it; empty where a record has no such field.

    A text that a spreadsheet would take for a formula has an apostrophe before it, and so has one
    that begins with an apostrophe: whoever takes one away from each has the texts as they were.
    """
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for line in lines:
        fields = Record.parse(line).fields
        writer.writerow([_value(fields, path) for path in COLUMNS.values()])
        if progress:
            progress(len(line) + 1)


@contextmanager
def private_file(path: Path) -> Iterator[IO[str]]:
    """A file for what may hold prompts: readable for its owner alone; what was there goes when all
    of it is written. Raises CannotStart."""
    path = Path(os.path.realpath(path.expanduser()))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    is_plain = path.is_file() or not path.exists()
    try:
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if is_plain else 0)
        descriptor = os.open(temporary if is_plain else path, flags, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        if is_plain:
            os.replace(temporary, path)
    except OSError as error:
        raise CannotStart(f"{error.filename or path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def bar(title: str, total: int) -> Iterator[Progress]:
    """A bar on stderr; it goes when the work is done."""
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        pending = 0

        def report(amount: int) -> None:
            nonlocal pending
            pending += amount
            if pending * 500 >= total:  # a million updates would take longer than the work
                progress.advance(task, pending)
                pending = 0

        yield report


def _both(record: Record, room: int) -> Text:
    """What was asked and what was said, in so many columns; neither takes the other's half."""
    if record.is_redaction:
        return Text(printable(f"record {record.fields['redacts']} was redacted"), style="dim")
    if not record.is_whole:
        return Text(_absence(record), style="dim")
    asked = questions(record)
    prompt = Text(_one_line(asked[-1] if asked else record.prompt or ""), style="bold")
    said = Text.assemble((" → ", "dim"), _one_line(record.response or ""))
    prompt.truncate(max(room // 2, room - said.cell_len), overflow="ellipsis")
    return prompt + said


def _kind(record: Record) -> str:
    return "repair" if "repairs" in record.fields else "redaction"


def _one_line(text: str) -> str:
    return printable(" ".join(text[:500].split()))


def _absence(record: Record) -> str:
    if record.is_redacted:
        return "(redacted)"
    return "(not stored)" if record.is_withheld else ""


def _value(fields: object, path: tuple[str, ...]) -> object:
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    if isinstance(fields, int | float) or fields is None:
        return fields
    text = fields if isinstance(fields, str) else json.dumps(fields)
    text = text.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(_FORMULA) else text
