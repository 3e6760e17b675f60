"""Verifying a whole log: the chain along all files, and what checkpoints and receipts say."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault import checkpoint as checkpoints
from minivault.vault.chain import Chain, Progress, is_canonical
from minivault.vault.checkpoint import BadCheckpoint, Checkpoint
from minivault.vault.record import GENESIS
from minivault.vault.segments import Segment, place, segments

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: records `first` to `last` follow each other, and `head` is the last hash.

    `checkpoint` says up to which record a kept head vouches that nothing was cut off (0: none).
    `redacted` lists the records whose text was removed, as later records tell; for those in
    `unfinished` the removal is recorded but was not carried out.
    """

    first: int
    last: int
    head: str
    checkpoint: int = 0
    is_signed: bool = False
    redacted: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()

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
    key = checkpoints.load_public_key(public_key) if public_key else None
    known = [checkpoints.parse(path.read_bytes(), key) for path in _checkpoints(folder, checkpoint)]
    if key and not known:
        raise BadCheckpoint(f"there is no checkpoint in {folder}")
    found, _ = _walk(folder, known, (), progress)
    newest = max((each.seq for each in known), default=0)
    return Verification(
        found.first, found.last, found.head, newest, key is not None, *found.redactions
    )


def check_receipt(folder: Path, receipt: Receipt, progress: Progress | None = None) -> None:
    """Checks that the log still holds the record a receipt was given for, in an unbroken chain.

    Raises NotFound if the record is not there, ChainBroken if it is another one.
    """
    known = [checkpoints.parse(path.read_bytes()) for path in _checkpoints(folder, None)]
    found, hashes = _walk(folder, known, (receipt.seq,), progress)
    if not found.first <= receipt.seq <= found.last:
        raise NotFound(f"the log has the records {found.first} to {found.last}, not {receipt.seq}")
    if hashes[receipt.seq] != receipt.hash:
        raise ChainBroken(f"{folder.name}/", 0, f"record {receipt.seq} is not the receipt's")


@dataclass(frozen=True, slots=True)
class _Walked:
    first: int
    last: int
    head: str
    redactions: tuple[tuple[int, ...], tuple[int, ...]]


def _checkpoints(folder: Path, other: Path | None) -> list[Path]:
    own = folder / checkpoints.NAME
    return ([own] if own.exists() else []) + ([other] if other else [])


def _walk(
    folder: Path, known: list[Checkpoint], watched: Iterable[int], progress: Progress | None
) -> tuple[_Walked, dict[int, str | None]]:
    """Walks again if files were rotated or lines written while it walked, and it went wrong."""
    for attempt in range(_TRIES):
        before = _snapshot(folder)
        try:
            return _walk_once(folder, known, watched, progress if attempt == 0 else None)
        except (ChainBroken, FileNotFoundError):
            time.sleep(0.1)
            if attempt == _TRIES - 1 or _snapshot(folder) == before:
                raise
    raise AssertionError


def _snapshot(folder: Path) -> list[tuple[str, int, int]]:
    states = [(each.name, each.path.stat()) for each in segments(folder)]
    return [(name, state.st_ino, state.st_size) for name, state in states]


def _walk_once(
    folder: Path, known: list[Checkpoint], watched: Iterable[int], progress: Progress | None
) -> tuple[_Walked, dict[int, str | None]]:
    places = [each.seq for each in known] + [each.first - 1 for each in known]
    chain = Chain(watched=dict.fromkeys([*places, *watched]))
    found = segments(folder)
    for segment in found:
        _walk_segment(chain, segment, progress)
    redactions = chain.finish()
    if chain.first > 1:
        chain.watched[chain.first - 1] = place(found[0].first_line())[1]
    walked = _Walked(chain.first, chain.seq or 0, chain.head, redactions)
    for checkpoint in known:
        _require(checkpoint, walked, chain.watched, f"{folder.name}/")
    if found and not is_canonical(line := found[-1].last_line()):
        raise ChainBroken(found[-1].name, place(line)[0], "the last line is not as we write them")
    return walked, chain.watched


def _walk_segment(chain: Chain, segment: Segment, progress: Progress | None) -> None:
    try:
        with segment.open() as file:
            chain.walk(file, segment.name, progress)
    except FileNotFoundError:
        raise
    except (OSError, EOFError) as error:
        raise ChainBroken(segment.name, 1, f"it cannot be read: {error}") from error


def _require(
    checkpoint: Checkpoint, walked: _Walked, hashes: dict[int, str | None], where: str
) -> None:
    """Raises ChainBroken if the log is shorter than it was, or other than it was."""
    first, last = walked.first, walked.last
    if checkpoint.seq > last:
        missing = f"records {last + 1} to {checkpoint.seq} are missing"
        raise ChainBroken(where, 0, f"the end is cut: {missing}")
    if first > max(1, checkpoint.first):
        raise ChainBroken(where, 0, f"the beginning is cut: record {first} is the first one left")
    if checkpoint.seq and hashes.get(checkpoint.seq) not in (None, checkpoint.head):
        raise ChainBroken(where, 0, f"record {checkpoint.seq} is not the one of the checkpoint")
    base = GENESIS if checkpoint.first == 1 else hashes.get(checkpoint.first - 1)
    if base not in (None, checkpoint.base):
        raise ChainBroken(where, 0, f"record {checkpoint.first} has another predecessor")
