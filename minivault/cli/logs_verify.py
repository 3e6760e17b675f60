"""`minivault logs verify`: a log in its folder, or logs as they are published in buckets."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivault.cli.logs_folder import LOGS, AsJson, Kept, LogsDir, log_in, progress_of, size_of
from minivault.cli.logs_publish import BUCKET, Credentials, fleet_of
from minivault.errors import ChainBroken, FieldError, InvalidRequest
from minivault.vault.signing import BadCheckpoint, load_public_key

if TYPE_CHECKING:
    from minivault.vault.publishing.inspection import Published, PublishedLog


def verify(
    *,
    logs_dir: LogsDir = LOGS,
    checkpoint: Kept = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="It must be signed with this key; of --from one of them."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help=f"Logs as they were shipped instead. {BUCKET}")
    ] = None,
    texts: Annotated[str | None, typer.Option(help="And their lines.")] = None,
    ship_credentials: Credentials = None,
    as_json: AsJson = False,
) -> None:
    """Say whether nothing was changed and nothing is missing; if not, name the first bad line."""
    keys = public_key or []
    if source and checkpoint:
        raise InvalidRequest([FieldError("checkpoint", "does not go with --from")])
    try:
        if source:
            return _verify_published(source, texts, keys, ship_credentials, as_json=as_json)
        _verify_folder(logs_dir, checkpoint, keys, texts, as_json=as_json)
    except (ChainBroken, BadCheckpoint) as error:
        if not as_json:
            raise
        where = {"file": error.file, "line": error.line} if isinstance(error, ChainBroken) else {}
        print(json.dumps({"ok": False, **where, "reason": getattr(error, "reason", str(error))}))
        raise typer.Exit(1) from None


def _verify_folder(
    logs_dir: Path, checkpoint: Path | None, keys: list[Path], texts: str | None, *, as_json: bool
) -> None:
    from minivault.cli.logs_view import print_verification
    from minivault.vault.verify import verify as verify_log

    if texts:
        raise InvalidRequest([FieldError("texts", "goes with --from")])
    if len(keys) > 1:
        raise InvalidRequest([FieldError("public_key", "one log has one key; --from takes more")])
    reader = log_in(logs_dir)
    key = next(iter(keys), None)
    with progress_of("verifying", size_of(reader), quiet=as_json) as progress:
        found = verify_log(reader.folder, checkpoint=checkpoint, public_key=key, progress=progress)
    print_verification(found, as_json=as_json)


def _verify_published(
    bucket: str,
    texts: str | None,
    public_keys: Sequence[Path],
    credentials: Path | None,
    *,
    as_json: bool,
) -> None:
    from minivault.vault.publishing.bucket import open_bucket
    from minivault.vault.publishing.inspection import inspect

    keys = list(map(load_public_key, public_keys))
    hashes = open_bucket(bucket, credentials)
    other = open_bucket(texts, credentials) if texts else None
    found = inspect(hashes, other, keys, (lambda log: None) if as_json else _print_log)
    if as_json:
        print(json.dumps(_told(found)))
        return
    fleet = f"; {fleet_of(found.fleet.size)}" if found.fleet else ""
    count = len(found.logs)
    print(f"ok: what is published is whole: {count} log{'s' * (count > 1)}{fleet}")
    if not keys:
        told = "whose they are: give the public keys of the writers (and the fleet's)"
        print(f"note: nothing shows {told}", file=sys.stderr)


def _print_log(log: PublishedLog) -> None:
    from minivault.cli.logs_view import printable

    parts = [f"{log.origin}: the records {log.first} to {log.last}"]
    if log.texts is not None:
        parts.append(f"{log.texts} with their lines, {len(log.redacted)} of them redacted")
    if log.fleet:
        parts.append(f"{log.fleet} of its checkpoints in the fleet's log")
    print(printable("; ".join(parts)))


def _told(found: Published) -> dict[str, Any]:
    logs = [
        {
            "log": each.origin,
            "first": each.first,
            "last": each.last,
            "checkpoints": each.fleet,
            "texts": each.texts,
            "redacted": list(each.redacted),
        }
        for each in found.logs
    ]
    return {"ok": True, "fleet": found.fleet.size if found.fleet else None, "logs": logs}
