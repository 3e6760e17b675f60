"""Verifying what is published, without the writers: the fleet's log, their trees, their texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken, NotFound
from minivault.vault import checkpoint as checkpoints
from minivault.vault.chain import Chain, Judge, Told, untold
from minivault.vault.publishing.bucket import Bucket
from minivault.vault.publishing.fleet import FLEET, checkpoints_in, remake, writers
from minivault.vault.publishing.shipping import folder_of
from minivault.vault.publishing.texts import Texts
from minivault.vault.publishing.tile_log import TileLog, require_signed
from minivault.vault.segments import place
from minivault.vault.signing import BadCheckpoint
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.tiles import DamagedTiles

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """A log whose records `first` to `last` are as they were published.

    `texts`: so many of them have a line in the bucket of texts, which is the one that was
    published, or what redaction made of it; None where no such bucket was looked at. `fleet`: so
    many of its checkpoints stand in the fleet's log.
    """

    origin: str
    first: int
    last: int
    fleet: int
    texts: int | None = None
    redacted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """`fleet` is the fleet's checkpoint, None where there is none."""

    fleet: TreeHead | None
    logs: list[PublishedLog]


def inspect(
    hashes: Bucket,
    texts: Bucket | None = None,
    keys: Sequence[Ed25519PublicKey] = (),
    looked_at: Callable[[PublishedLog], object] = lambda log: None,
) -> Published:
    """Verifies all that is published. Raises ChainBroken at the first thing that is wrong,
    BadCheckpoint for what is not signed with one of the keys (if there are any), Away, and
    NotFound where nothing is published.
    """
    fleet = TileLog(hashes, FLEET, keys)
    known = checkpoints_in(fleet) if fleet.head else {}
    for head in chain.from_iterable(known.values()):
        require_signed(head, keys)
    folders = writers(hashes)
    for origin in known:
        if folder_of(origin) not in folders:
            raise ChainBroken(folder_of(origin), 0, "the fleet's log knows it, and it is gone")
    logs = []
    for folder in folders:
        log = TileLog(hashes, folder, keys)
        if log.head is None:
            continue  # a writer that died before its first checkpoint
        logs.append(_inspected(log, known.get(log.head.origin, []), texts, keys))
        looked_at(logs[-1])
    if not logs:
        raise NotFound(f"no log is published in {hashes.url}")
    return Published(fleet.head, logs)


def _inspected(
    log: TileLog, known: list[TreeHead], texts: Bucket | None, keys: Sequence[Ed25519PublicKey]
) -> PublishedLog:
    head = log.head
    assert head is not None
    if folder_of(head.origin) != log.folder:
        raise ChainBroken(log.folder, 0, f"it is the log {head.origin}")
    try:
        remake(log)
        tiles = log.tiles()
        for older in known:
            if older.size > head.size:
                cut = f"records {head.last + 1} to {older.last} are missing"
                raise ChainBroken(log.folder, 0, f"the fleet's log knows more: {cut}")
            if tiles.root(older.size) != older.root:
                why = f"its first {older.size} records are not those of the fleet's log"
                raise ChainBroken(log.folder, 0, why)
        found = PublishedLog(head.origin, head.first, head.last, len(known))
        return _with_texts(found, log, Texts(texts, log.folder), keys) if texts else found
    except DamagedTiles as error:
        raise ChainBroken(log.folder, 0, f"the tree is damaged: {error}") from error


def _with_texts(
    found: PublishedLog, log: TileLog, texts: Texts, keys: Sequence[Ed25519PublicKey]
) -> PublishedLog:
    """Objects that are gone as a whole (a bucket's own rule removed them) break nothing."""
    head = log.head
    assert head is not None
    tiles, count = log.tiles(), 0

    def compare(first: int, hashes: list[str]) -> None:
        nonlocal count
        if first < head.first:
            raise ChainBroken(log.folder, 0, f"record {first} is older than the tree")
        entries = chain.from_iterable(tiles.entries_from(first - head.first))
        for seq, (ours, entry) in enumerate(zip(hashes, entries, strict=False), first):
            if ours != entry.hex():
                raise ChainBroken(log.folder, 0, f"record {seq} is not the one of the tree")
            count += 1

    told: dict[int, Told] = {}
    walks: list[Chain] = []
    for name, lines in texts.lines():
        if not walks or place(lines[0])[0] != walks[-1].seq + 1:
            walks.append(Chain(told=told, on_hashes=compare, judge=_judge(head, keys)))
        walks[-1].walk(BytesIO(b"".join(each + b"\n" for each in lines)), name)
    untold_ones = [seq for walk in walks for seq in walk.untold() if seq <= head.last]
    if untold_ones:
        raise ChainBroken(log.folder, 0, untold(untold_ones[0]))
    redacted = tuple(seq for walk in walks for seq in walk.redacted)
    return replace(found, texts=count, redacted=redacted)


def _judge(head: TreeHead, keys: Sequence[Ed25519PublicKey]) -> Judge | None:
    for key in keys:
        with contextlib.suppress(BadCheckpoint):
            head.require_signed(key)
            return checkpoints.judge(key, head.last)
    return None
