"""The commands of `minivault logs` that change a log: redact, adopt, repair; and keygen."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivault.cli.logs_folder import LOGS, AsJson, LogsDir, Seq, SigningKey, Yes, log_in
from minivault.errors import CannotStart


def redact(
    seq: Seq,
    *,
    logs_dir: LogsDir = LOGS,
    yes: Yes = False,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Remove the text of one record for good, and of its replays and continuations.

    The log says that it was removed. Names what still holds the text.
    """
    from minivault.cli.logs_view import numbers, printable
    from minivault.vault.redact import copies_of
    from minivault.vault.redact import redact as remove

    folder = log_in(logs_dir).folder
    others = copies_of(folder, seq)
    if not yes:
        more = f", and of {numbers(others)} with the same text" if others else ""
        typer.confirm(f"Remove prompt and response of record {seq}{more}?", abort=True, err=True)
    done = remove(folder, seq, others=others, signing_key=signing_key)
    if as_json:
        receipts = {each: receipt.model_dump() for each, receipt in done.receipts.items()}
        told = {"redacted": seq, "receipt": receipts[seq], "receipts": receipts}
        print(json.dumps({**told, "files": done.files, "records": done.records}))
        return
    for each, receipt in done.receipts.items():
        print(f"record {each} is redacted; record {receipt.seq} says so")
    for name in done.files:
        print(f"note: {printable(name)} is no file of the log, and still holds the text: remove it")
    if done.records:
        print(f"note: {numbers(done.records)} hold the same words; redact them too if need be")


def adopt(
    *,
    logs_dir: LogsDir = LOGS,
    yes: Yes = False,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Take the log as it stands as the one to go on with, and sign it if a key is given.

    For a log that was never signed with this key, or whose checkpoint is lost or says otherwise.
    """
    from minivault.cli.logs_view import numbers
    from minivault.vault.repair import adopt as take

    folder = log_in(logs_dir).folder
    if not yes:
        typer.confirm(f"Vouch for the log in {folder.absolute()} as it is?", abort=True, err=True)
    done = take(folder, signing_key)
    now, before = done.now, done.before
    if as_json:
        told = asdict(before) if before else None
        print(json.dumps({"adopted": asdict(now), "before": told, "unsigned": done.unsigned}))
        return
    how = "signed" if now.is_signed else "written"
    print(f"the checkpoint is {how}: records {now.first} to {now.seq}, head {now.head}")
    if before and (before.seq, before.head) != (now.seq, now.head):
        print(f"before, it named record {before.seq} with the hash {before.head}")
    if done.unsigned:
        print(
            f"note: nobody signed the redaction of {numbers(done.unsigned)}; now it is vouched for"
        )


def repair(
    *,
    logs_dir: LogsDir = LOGS,
    yes: Yes = False,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring a log whose chain is broken, or forked, back to work. Nothing is lost.

    The broken files are set aside as they are; their records are written again behind the last
    good one, and a record tells of it. Stop the servers first.
    """
    from minivault.cli.logs_view import printable
    from minivault.vault.repair import repair as mend

    folder = log_in(logs_dir).folder
    if not yes:
        typer.confirm(f"Repair the log in {folder.absolute()}?", abort=True, err=True)
    done = mend(folder, signing_key)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(f"records up to {done.after} stay as they are; then {printable(done.reason)}")
    print(f"{done.moved} records of the rest are written again, as record {done.after + 1} tells")
    if done.left:
        print(f"{done.left} lines were no records, or redacted ones: they are only in what follows")
    for name in done.aside:
        print(f"set aside: {printable(name)}")


def keygen(
    path: Annotated[Path, typer.Argument(help="Where to put the private key.")] = Path(
        "minivault.key"
    ),
) -> None:
    """Make a pair of keys: one signs checkpoints, the other verifies them."""
    from minivault.vault.signing import write_keys

    path = path.expanduser()
    public = path.with_name(f"{path.name}.pub")
    try:
        write_keys(path, public)
    except OSError as error:
        raise CannotStart(f"no keys were made: {error.strerror}: {error.filename}") from error
    print(f"private key: {path.absolute()} (for serve --signing-key; keep it from everybody)")
    print(f"public key:  {public.absolute()} (for logs verify --public-key)")
