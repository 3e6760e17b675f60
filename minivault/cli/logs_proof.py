"""The commands of `minivault logs` that prove one record, or a log's growth, to others."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from minivault.cli.logs_folder import LOGS, AsJson, LogsDir, PublicKey, Seq, log_in
from minivault.errors import ChainBroken, FieldError, InvalidRequest
from minivault.schemas import Receipt
from minivault.vault.signing import BadCheckpoint, load_public_key
from minivault.vault.tree.proof import BadProof, Growth, Inclusion

if TYPE_CHECKING:
    from minivault.vault.tree.findings import Findings
    from minivault.vault.tree.head import TreeHead

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to. Default: stdout.")]
Checkpoint = Annotated[
    Path, typer.Argument(exists=True, help="A tree's checkpoint, as it was kept.")
]


#: Where the page's shared file names the line that it holds.
_SHARED = re.compile(
    r'<script [^>]*id="minivault-line" data-seq="(?P<seq>\d+)" data-hash="(?P<hash>[0-9a-f]{64})">'
)


def read_receipt(text: str) -> Receipt:
    """A receipt as JSON, as seq:hash, or in a file, the page's too. Raises InvalidRequest."""
    try:
        if not text.lstrip().startswith("{") and Path(text).is_file():
            text = Path(text).read_text(encoding="utf-8")
        if shared := _SHARED.search(text):
            text = f"{shared['seq']}:{shared['hash']}"
        seq, _, digest = text.strip().partition(":")
        if seq.isascii() and seq.isdigit():
            return Receipt(seq=int(seq), hash=digest)
        data = json.loads(text)
        return Receipt.model_validate(data.get("receipt", data))
    except (ValueError, AttributeError, ValidationError, OSError):
        message = 'is {"seq":17,"hash":"…"}, or 17:…, or a file that holds it'
        raise InvalidRequest([FieldError("receipt", message)]) from None


def prove(
    seq: Seq,
    *,
    logs_dir: LogsDir = LOGS,
    output: Output = None,
    hash_only: Annotated[
        bool, typer.Option("--hash-only", help="Tell the hash of the line, not the line.")
    ] = False,
) -> None:
    """Prove to others that a record stands in the log: one file, for minivault logs check.

    It holds the record, and nothing of any other.
    """
    from minivault.vault.tree.proof import prove as prove_record

    proof = prove_record(log_in(logs_dir).folder, seq, hash_only=hash_only)
    if proof.line is None and not hash_only:
        print(
            f"note: the text of record {seq} is gone: the proof has its hash alone", file=sys.stderr
        )
    _write(proof.dump(), proof.head, output)


def consistency(
    old: Checkpoint,
    new: Annotated[
        Path | None, typer.Argument(exists=True, help="A newer one. Default: the log's own.")
    ] = None,
    *,
    logs_dir: LogsDir = LOGS,
    public_key: PublicKey = None,
    output: Output = None,
) -> None:
    """Prove that a log grew from an older checkpoint of its tree: nothing before was changed."""
    from minivault.vault.tree.proof import prove_growth

    key = load_public_key(public_key) if public_key else None
    before, after = _head(old), _head(new) if new else None
    growth = prove_growth(log_in(logs_dir).folder, before, after)
    growth.require(before, key)
    print(
        f"ok: {growth.head.size} records, of which the first {growth.old} are as they were",
        file=sys.stderr,
    )
    _write(growth.dump(), growth.head, output)


def check(
    file: Annotated[
        Path,
        typer.Argument(exists=True, help="What minivault logs prove wrote, or the page."),
    ],
    *,
    public_key: PublicKey = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, help="A tree's checkpoint that you have, in the place of a key."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="The key of a witness that must have seen it; may be given again."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof, and say what it proves and what not. Needs no log and no server."""
    try:
        told = _checked(_proof_in(file.read_bytes()), public_key, checkpoint, witness or [])
    except (BadProof, BadCheckpoint, ChainBroken) as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "reason": str(error)}))
        raise typer.Exit(1) from None
    if as_json:
        return print(json.dumps(told))
    from minivault.cli.logs_view import print_proof

    print_proof(told)


def read_proof(file: Path, public_key: Path | None) -> Inclusion:
    """A proof of a record, checked as far as that goes without a log. Raises BadProof."""
    proof = Inclusion.parse(_proof_in(file.read_bytes()))
    proof.require(load_public_key(public_key) if public_key else None)
    return proof


def _proof_in(data: bytes) -> bytes:
    """The proof in a file that the page shared; what else that says is not believed.

    Another file is the proof itself. Raises BadProof for a page without one.
    """
    if not data.lstrip().startswith(b"<"):
        return data
    found = re.search(rb'<script [^>]*id="minivault-proof">([A-Za-z0-9+/=\n]*)</script>', data)
    if not found:
        held = "minivault logs check-receipt asks the log whether it still has its line"
        raise BadProof(f"this page holds no proof; {held}")
    return base64.b64decode(found[1])


def _checked(
    data: bytes, public_key: Path | None, checkpoint: Path | None, witnesses: list[str]
) -> dict[str, Any]:
    from minivault.vault.tree import findings

    key = load_public_key(public_key) if public_key else None
    kept = _head(checkpoint) if checkpoint else None
    if data.startswith(b"old "):
        if kept is None:
            raise InvalidRequest(
                [FieldError("checkpoint", "give the older one: this proves growth")]
            )
        growth = Growth.parse(data)
        growth.require(kept, key)
        return _told(growth.head, findings.of_growth(growth, is_signed=key is not None))
    proof = Inclusion.parse(data)
    if key is None and kept is None:
        raise InvalidRequest(
            [FieldError("public_key", "give the key of the log's owner, or --checkpoint")]
        )
    proof.require(key)
    if kept and kept.body != proof.head.body:
        raise BadProof(
            "the proof is for another checkpoint; minivault logs consistency compares them"
        )
    record = proof.record
    seen = _seen(proof.head, witnesses)
    found = findings.of_inclusion(proof, is_signed=key is not None, seen=seen)
    told = _told(proof.head, found)
    fields = record.fields if record else None
    return {**told, "seq": proof.seq, "hash": proof.digest, "record": fields}


def _seen(head: TreeHead, witnesses: list[str]) -> dict[str, int]:
    """When each of them saw the tree. Raises BadProof if one has not signed it."""
    from minivault.vault.tree.cosignature import WitnessKey

    seen = {}
    for key in map(WitnessKey.parse, witnesses):
        if (time := key.seen(head)) is None:
            raise BadProof(f"the witness {key.name} has not signed this tree")
        seen[key.name] = time
    return seen


def _told(head: TreeHead, found: Findings) -> dict[str, Any]:
    proven = {"proven": found.proven, "not_proven": found.unproven}
    return {"ok": True, "log": head.origin, "size": head.size, **proven}


def _head(path: Path) -> TreeHead:
    from minivault.vault.tree.head import TreeHead

    return TreeHead.parse(path.read_bytes())


def _write(data: bytes, head: TreeHead, output: Path | None) -> None:
    if not head.is_signed:
        told = "it proves something only to who has its checkpoint from elsewhere"
        print(f"note: the tree is not signed (serve --signing-key): {told}", file=sys.stderr)
    if output is None:
        sys.stdout.write(data.decode())
        return
    from minivault.cli.logs_view import private_file

    with private_file(output) as file:
        file.write(data.decode())


def ask_witness(
    url: Annotated[str, typer.Argument(help="The witness's address; /add-checkpoint is asked.")],
    witness: Annotated[str, typer.Option(help="Its key, as minivault witness prints it.")],
    *,
    logs_dir: LogsDir = LOGS,
) -> None:
    """Have a witness sign the newest tree: it saw it, and nothing before was changed.

    Proofs made from then on carry its signature. Say it once a minute or a day, by cron.
    """
    from minivault.cli.logs_view import printable
    from minivault.vault.tree.cosignature import WitnessKey
    from minivault.vault.tree.witness import ask

    key = WitnessKey.parse(witness)
    seen = ask(log_in(logs_dir).folder, url, key)
    print(printable(f"{key.name} has seen the records {seen.first} to {seen.last}"))


def verifier_key(
    *,
    logs_dir: LogsDir = LOGS,
    public_key: Annotated[Path, typer.Option(exists=True, help="The log's public key.")],
) -> None:
    """Print the key of the log's tree as witnesses and other tools take it (name+id+key)."""
    from minivault.vault import signing
    from minivault.vault.tree.proof import head_of

    key = load_public_key(public_key)
    head = head_of(log_in(logs_dir).folder)
    head.require_signed(key)
    print(signing.verifier_key(head.origin, key))
