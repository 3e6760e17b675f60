"""The commands of `minivault logs` that publish in buckets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from minivault.cli.logs_folder import LOGS, LogsDir, log_in
from minivault.vault.signing import Signer, load_public_key

BUCKET = "As s3://bucket/path, gs://…, az://…, file:///folder or a folder."
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--ship-credentials",
        envvar="MINIVAULT_SHIP_CREDENTIALS",
        help="Private file of NAME=value lines. Default: the environment.",
    ),
]
Hashes = Annotated[str, typer.Option(envvar="MINIVAULT_SHIP_HASHES", help=BUCKET)]
Texts = Annotated[str | None, typer.Option(envvar="MINIVAULT_SHIP_TEXTS", help=BUCKET)]
SigningKey = Annotated[Path, typer.Option(envvar="MINIVAULT_SIGNING_KEY", help="Its private key.")]


def ship(
    *,
    ship_hashes: Hashes,
    ship_texts: Texts = None,
    ship_credentials: Credentials = None,
    signing_key: SigningKey,
    logs_dir: LogsDir = LOGS,
) -> None:
    """Ship the log to its buckets once, as a server with the same options does all the time."""
    from minivault.vault.publishing.shipping import Shipping

    logs = log_in(logs_dir).folder
    shipping = Shipping.opened(logs, signing_key, ship_hashes, ship_texts, ship_credentials)
    head = shipping.ship()
    if head is None:
        print("a server ships this log just now; nothing was done", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{shipping.hashes.url} has the records {head.first} to {head.last}")


def gather(
    bucket: Annotated[str, typer.Argument(help=f"Where the writers ship hashes to. {BUCKET}")],
    *,
    signing_key: Annotated[Path, typer.Option(help="The fleet's private key, of logs keygen.")],
    public_key: Annotated[
        list[Path], typer.Option(exists=True, help="A writer's public key; may be given again.")
    ],
    ship_credentials: Credentials = None,
) -> None:
    """Take the newest checkpoints of all writers into the fleet's log. Say it by cron.

    The fleet's checkpoint then stands for all of them: keep it, or have it witnessed.
    """
    from minivault.vault.publishing.bucket import open_bucket
    from minivault.vault.publishing.fleet import gather as gather_all

    keys = list(map(load_public_key, public_key))
    hashes = open_bucket(bucket, ship_credentials)
    gathered = gather_all(hashes, Signer.load(signing_key), keys)
    for head in gathered.taken:
        print(f"{head.origin}: the records {head.first} to {head.last}")
    for why in gathered.refused:
        print(f"refused: {why}", file=sys.stderr)
    size = gathered.head.size if gathered.head else 0
    print(f"{len(gathered.taken)} new; {fleet_of(size)}")
    raise typer.Exit(1 if gathered.refused else 0)


def fleet_of(size: int) -> str:
    """What the fleet's log holds, for people."""
    return f"the fleet's log knows {size} checkpoint{'s' * (size != 1)}"
