"""The fleet's log: a transparency log whose entries are the checkpoints of the writers' logs.

One checkpoint then stands for all of them, and none can be shown to one person and hidden from
another who has that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken
from minivault.vault.publishing.bucket import Bucket
from minivault.vault.publishing.shipping import FOLDER, WRITERS, folder_of
from minivault.vault.publishing.tile_log import Forked, TileLog, require_signed
from minivault.vault.record import new_salt
from minivault.vault.signing import BadCheckpoint, Signer
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.tiles import DamagedTiles, Edge, Tiles

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FLEET = "fleet"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of it: the fleet's newest checkpoint, what is new in it, and what was refused."""

    head: TreeHead | None
    taken: list[TreeHead] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def gather(hashes: Bucket, signer: Signer, keys: Sequence[Ed25519PublicKey]) -> Gathered:
    """Takes the writers' newest checkpoints into the fleet's log, which it signs.

    Each must be signed with one of the keys, and its tree must have grown from the one that the
    fleet knows; else it is refused, and the others are taken. Raises Away, Overtaken, Forked,
    ChainBroken, BadCheckpoint for what is wrong with the fleet's own log.
    """
    fleet = TileLog(hashes, FLEET, [signer.public_key])
    known = {origin: heads[-1] for origin, heads in checkpoints_in(fleet).items()}
    gathered = Gathered(fleet.head)
    for folder in writers(hashes):
        try:
            head = _grown(TileLog(hashes, folder, keys), known)
        except (Forked, BadCheckpoint, ChainBroken) as error:
            gathered.refused.append(str(error))
        else:
            gathered.taken.extend([_with_checked(head, keys)] if head else [])
    if not gathered.taken:
        return gathered
    notes = [each.note for each in gathered.taken]
    try:
        edge = Edge.load(fleet.size, fleet.get, lambda path, data: None)
    except DamagedTiles as error:
        raise ChainBroken(FLEET, 0, f"the fleet's log is damaged: {error}") from error
    edge.append(notes)
    origin = fleet.head.origin if fleet.head else f"minivault/{new_salt()}/{FLEET}"
    fleet.extend(TreeHead(origin, edge.size, edge.root).signed(signer), lambda index: [notes])
    return Gathered(fleet.head, gathered.taken, gathered.refused)


def writers(hashes: Bucket) -> list[str]:
    """The folders of the logs that are published. Raises Away."""
    names = [each.rstrip("/") for each in hashes.names(WRITERS) if each.endswith("/")]
    folders = [
        f"{WRITERS}/{name}/{tree.rstrip('/')}"
        for name in names
        for tree in hashes.names(f"{WRITERS}/{name}")
        if tree.endswith("/")
    ]
    return list(filter(FOLDER.fullmatch, folders))


def checkpoints_in(fleet: TileLog) -> dict[str, list[TreeHead]]:
    """The checkpoints of each log that the fleet's knows, oldest first. Raises ChainBroken."""
    found: dict[str, list[TreeHead]] = {}

    def take(some: list[bytes]) -> None:
        for head in map(TreeHead.parse, some):
            found.setdefault(head.origin, []).append(head)

    try:
        remake(fleet, take)
    except (DamagedTiles, BadCheckpoint) as error:
        raise ChainBroken(FLEET, 0, f"the fleet's log is damaged: {error}") from error
    for origin, heads in found.items():
        sizes = [each.size for each in heads]
        if sizes != sorted(set(sizes)):
            raise ChainBroken(FLEET, 0, f"the fleet's log knows two logs of the name {origin}")
    return found


def remake(log: TileLog, take: Callable[[list[bytes]], None] = lambda some: None) -> None:
    """Makes a whole tree again out of its entries, tile by tile. Raises DamagedTiles.

    Each bundle of them, which is read once, is told before it is known that the tree is whole.
    """
    bundles: dict[str, bytes] = {}  # that were read, and not compared yet

    def read(path: str) -> bytes:
        bundles[path] = log.get(path)
        return bundles[path]

    def require(path: str, data: bytes) -> None:
        try:
            is_same = (bundles.pop(path, None) or log.get(path)) == data
        except FileNotFoundError:
            raise DamagedTiles(f"{path} is missing") from None
        if not is_same:
            raise DamagedTiles(f"{path} is not made of the entries")

    edge = Edge(require)
    for some in Tiles(log.size, read).entries_from(0):
        take(some)
        edge.append(some)
    edge.seal()
    if log.head and edge.root != log.head.root:
        raise DamagedTiles("its tiles do not make its root")


def _grown(log: TileLog, known: dict[str, TreeHead]) -> TreeHead | None:
    """The checkpoint of a log if it is newer than the known one. Raises Forked."""
    head = log.head
    if head is None:
        return None
    if folder_of(head.origin) != log.folder:
        raise Forked(f"{log.where} is the log {head.origin}")
    old = known.get(head.origin)
    if old and (head.size, head.root) == (old.size, old.root):
        return None
    require_grown(log, old)
    return head


def _with_checked(head: TreeHead, keys: Sequence[Ed25519PublicKey]) -> TreeHead:
    """Without the lines that no key vouches for: what the fleet takes it can never give away."""
    checked: dict[str, None] = {}
    for line in head.signatures.splitlines(keepends=True):
        with contextlib.suppress(BadCheckpoint):
            require_signed(replace(head, signatures=line), keys)
            checked[line] = None
    return replace(head, signatures="".join(checked))


def require_grown(log: TileLog, old: TreeHead | None) -> None:
    """Raises Forked unless its tiles make its root and, if there is one, the older checkpoint."""
    assert log.head is not None
    tiles = log.tiles()
    try:
        if tiles.root() != log.head.root:
            raise Forked(f"{log.where}: its tiles do not make its root")
        if old and old.size >= log.size:
            raise Forked(f"{log.where}: {old.size} records were published, and now {log.size} are")
        if old and tiles.root(old.size) != old.root:
            raise Forked(f"{log.where}: its first {old.size} records were written anew")
    except DamagedTiles as error:
        raise Forked(f"{log.where}: {error}") from error
