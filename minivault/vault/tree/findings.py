"""What a proof shows and what it does not, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from minivault.vault.record import utc
from minivault.vault.tree.proof import Growth, Inclusion


@dataclass(frozen=True, slots=True)
class Findings:
    """Each a sentence without its end."""

    proven: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)


def of_inclusion(
    proof: Inclusion, *, is_signed: bool, seen: Mapping[str, int] | None = None
) -> Findings:
    """Of a proof that was checked; `is_signed` with a key, else against a checkpoint one has.

    `seen` are the witnesses whose signatures are good, and when, in seconds since 1970.
    """
    size, origin = proof.head.size, proof.head.origin
    what = (
        "this record, every byte of it," if proof.line else f"a record with the hash {proof.digest}"
    )
    proven = [f"{what} is record {proof.seq} of the log {origin}, when it had {size} in its tree"]
    unproven = []
    if is_signed:
        proven.append("the holder of the key has signed that tree")
    else:
        unproven.append("who made the log: only that it is the one of the checkpoint given")
    if proof.line is None:
        unproven.append("what the record says: compare the hash with that of a line that you have")
    else:
        told = "replay it (minivault logs replay --from FILE)"
        unproven.append(f"that the model said this: {told}; a server can write what it wants")
        unproven.append("when it was said, and by whom it was asked: the log's owner wrote that")
    for name, time in (seen or {}).items():
        when = utc(datetime.fromtimestamp(time, UTC), "seconds")
        told = "as grown from every tree of that name that it saw before"
        proven.append(f"the witness {name} saw that tree at {when}, {told}")
    if not seen:
        unproven.append("that nobody was shown another log: compare checkpoints with others")
    unproven.append("anything about other records, or whether the log is still there")
    return Findings(proven, unproven)


def of_growth(proof: Growth, *, is_signed: bool) -> Findings:
    """Of a proof that was checked."""
    grown = f"the first {proof.old} of the {proof.head.size} records of {proof.head.origin}"
    proven = [f"{grown} are those of the older checkpoint, none changed, removed or put between"]
    signed = "the holder of the key has signed both"
    if is_signed:
        return Findings([*proven, signed], ["what the records say"])
    return Findings(proven, ["who made the log: no key was given", "what the records say"])
