"""Verifying a whole log: the chain along all files, and what checkpoints and receipts say."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault import checkpoint as checkpoints
from minivault.vault.chain import Chain, Head, Progress, Redactions, is_canonical
from minivault.vault.checkpoint import Checkpoint
from minivault.vault.copies import require_same_copies
from minivault.vault.record import GENESIS
from minivault.vault.repair import where_moved
from minivault.vault.segments import log_files, place, segments, tail
from minivault.vault.signing import BadCheckpoint, load_public_key
from minivault.vault.tree.comparison import Comparison

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_TRIES = 5
_PAUSE = 0.1  # seconds for whoever writes meanwhile


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: records `first` to `last` follow each other, and `head` is the last hash.

    `checkpoint` says up to which record a kept head vouches that nothing was cut off (0: none).
    `tree` says up to which record the tree was compared with the log, record by record (0: there is
    none).

    `redacted` lists the records whose text was removed, as later records tell; for those in
    `unfinished` the removal is recorded but was not carried out. Of those in `unproven`, which
    version 0.1.0 wrote, the fields that are left are vouched for since the redaction only.
    """

    first: int
    last: int
    head: str
    checkpoint: int = 0
    is_signed: bool = False
    redacted: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()
    unproven: tuple[int, ...] = ()
    tree: int = 0

    @property
    def records(self) -> int:
        return self.last - self.first + 1 if self.last else 0


def verify(
    folder: Path,
    *,
    checkpoint: Path | None = None,
    public_key: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Verifies the log in a folder against its own checkpoint, and one kept elsewhere if given.

    Works while servers write. Raises ChainBroken at the first bad line, BadCheckpoint for a
    checkpoint that cannot be read or is not signed with `public_key`.
    """
    against = _Against.read(folder, checkpoint, public_key)
    walked, _ = _walk(folder, against, (), progress)
    seen = [each.seq for each in against.known if each.seq >= walked.first - 1]
    redactions = walked.redactions
    return Verification(
        walked.first,
        walked.last.seq,
        walked.last.hash,
        max(seen, default=0),
        against.key is not None,
        redactions.done,
        redactions.unfinished,
        redactions.unproven,
        walked.tree.head.last if walked.tree.head else 0,
    )


def check_receipt(
    folder: Path,
    receipt: Receipt,
    progress: Progress | None = None,
    *,
    checkpoint: Path | None = None,
    public_key: Path | None = None,
) -> int:
    """Checks that the log still holds the record a receipt was given for, in an unbroken chain.

    Returns its number, which is another one if the log was repaired since. Raises NotFound if the
    record is not there, ChainBroken if it is another one.
    """
    against = _Against.read(folder, checkpoint, public_key)
    found, heads = _walk(folder, against, (receipt.seq,), progress)
    there = heads[receipt.seq]
    if there and there.hash == receipt.hash:
        return receipt.seq
    if moved := where_moved(folder, receipt):
        return moved
    if not found.first <= receipt.seq <= found.last.seq:
        last = found.last.seq
        raise NotFound(f"the log has the records {found.first} to {last}, not {receipt.seq}")
    raise ChainBroken(f"{folder.name}/", 0, f"record {receipt.seq} is not the receipt's")


@dataclass(frozen=True, slots=True)
class _Against:
    """What the log must agree with: its own checkpoint, one that was kept, a public key."""

    known: list[Checkpoint]
    key: Ed25519PublicKey | None

    @classmethod
    def read(cls, folder: Path, other: Path | None, public_key: Path | None) -> _Against:
        """Raises BadCheckpoint."""
        key = load_public_key(public_key) if public_key else None
        own = folder / checkpoints.NAME
        paths = ([own] if own.exists() else []) + ([other] if other else [])
        if key and not paths:
            raise BadCheckpoint(f"there is no checkpoint in {folder}")
        try:
            return cls([checkpoints.parse(path.read_bytes(), key) for path in paths], key)
        except OSError as error:
            raise BadCheckpoint(f"{error.filename}: {error.strerror}") from error

    def chain(self, watched: Iterable[int]) -> Chain:
        places = [each.seq for each in self.known] + [each.first - 1 for each in self.known]
        newest = max((each.seq for each in self.known), default=0)
        judge = checkpoints.judge(self.key, newest) if self.key else None
        return Chain(watched=dict.fromkeys([*places, *watched]), judge=judge)


@dataclass(frozen=True, slots=True)
class _Walked:
    first: int
    last: Head
    redactions: Redactions
    tree: Comparison


def _walk(
    folder: Path, against: _Against, watched: Iterable[int], progress: Progress | None
) -> tuple[_Walked, dict[int, Head | None]]:
    """Walks again if files were rotated or lines written while it walked, and it went wrong."""
    for attempt in range(_TRIES):
        before = _snapshot(folder)
        try:
            return _walk_once(folder, against, watched, progress if attempt == 0 else None)
        except (ChainBroken, FileNotFoundError):
            time.sleep(_PAUSE)
            if attempt == _TRIES - 1 or _snapshot(folder) == before:
                raise
    raise AssertionError


def _snapshot(folder: Path) -> list[tuple[str, int, int]]:
    states = [(each.name, each.path.stat()) for each in segments(folder)]
    return [(name, state.st_ino, state.st_size) for name, state in states]


def _walk_once(
    folder: Path, against: _Against, watched: Iterable[int], progress: Progress | None
) -> tuple[_Walked, dict[int, Head | None]]:
    chain, tree = against.chain(watched), Comparison(folder, against.key)
    chain.on_hashes = tree.hear
    for damaged in log_files(folder).damaged:
        raise ChainBroken(damaged.name, 0, "it cannot be read")
    found = segments(folder)
    for segment in found:
        chain.walk_segment(segment, progress)
    redactions = chain.finish()
    if chain.first > 1:
        _, base, form = tail(found[0].first_line())
        chain.watched[chain.first - 1] = Head(chain.first - 1, base, form)
    walked = _Walked(chain.first, chain.head or Head(), redactions, tree)
    earliest = max((each.first for each in against.known), default=1)
    for checkpoint in against.known:
        _require(checkpoint, walked, chain.watched, earliest, f"{folder.name}/")
    tree.finish()
    if found and not is_canonical(line := found[-1].last_line()):
        raise ChainBroken(found[-1].name, place(line)[0], "the last line is not as we write them")
    require_same_copies(folder)
    return walked, chain.watched


def _require(
    checkpoint: Checkpoint,
    walked: _Walked,
    heads: dict[int, Head | None],
    earliest: int,
    where: str,
) -> None:
    """Raises ChainBroken if the log is shorter than it was, or other than it was.

    A checkpoint that was kept may name records that the retention rules have removed since; the
    log's own one says so: the log may begin with record `earliest`.
    """
    first, last = walked.first, walked.last.seq
    if checkpoint.seq > last:
        missing = f"records {last + 1} to {checkpoint.seq} are missing"
        raise ChainBroken(where, 0, f"the end is cut: {missing}")
    if first > earliest:
        raise ChainBroken(where, 0, f"the beginning is cut: record {first} is the first one left")
    if not checkpoint.fits(heads.get(checkpoint.seq)):
        raise ChainBroken(where, 0, f"record {checkpoint.seq} is not the one of the checkpoint")
    before = heads.get(checkpoint.first - 1)
    base = GENESIS if checkpoint.first == 1 else before.hash if before else None
    if base not in (None, checkpoint.base):
        raise ChainBroken(where, 0, f"record {checkpoint.first} has another predecessor")
