"""Witnesses: what one does (c2sp.org/tlog-witness, add-checkpoint), and how a log asks one."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ChainBroken, FieldError, InvalidRequest, MiniVaultError
from minivault.merkle import EMPTY, grew
from minivault.vault.private_file import Folder, Lock
from minivault.vault.signing import BadCheckpoint, Signer, parse_verifier_key
from minivault.vault.tree.cosignature import WitnessKey, cosign
from minivault.vault.tree.folder import NAME, WITNESSED, TreeFolder
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import BadProof, Growth, head_of, witnessed
from minivault.vault.tree.tiles import DamagedTiles, Tiles

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_BYTES = 2**16  # of a request, and of an answer
SIZE = "text/x.tlog.size"
_WAIT = 15.0  # seconds
_SIGNATURE = re.compile(r"— [^\s+]+ [A-Za-z0-9+/]+={0,2}")


class NotWitnessed(MiniVaultError):
    """The witness did not sign: it cannot be reached, or it knows another log of that name."""

    title = "Not witnessed"


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a witness: an HTTP status and a body."""

    status: int
    body: str
    kind: str = "text/plain"


class Witness:
    """Remembers the newest tree of each log that it knows, and signs what grew from that."""

    def __init__(
        self, name: str, signer: Signer, logs: Mapping[str, Ed25519PublicKey], state: Path
    ) -> None:
        """`logs` are the public keys of logs by the names of their trees; any thread."""
        self._name = name
        self._signer = signer
        self._logs = logs
        self._state = state

    def add_checkpoint(self, data: bytes) -> Answer:
        """Checks a checkpoint and signs it; the answer says why not."""
        try:
            growth = Growth.parse(data)
        except (BadProof, BadCheckpoint) as error:
            return Answer(400, f"{error}\n")
        head = growth.head
        key = self._logs.get(head.origin)
        if key is None:
            return Answer(404, "this witness does not know that log\n")
        try:
            head.require_signed(key)
        except BadCheckpoint as error:
            return Answer(403, f"{error}\n")
        if growth.old > head.size:
            return Answer(400, "the old tree is larger than the new one\n")
        folder = Folder(self._state)
        try:
            with Lock(folder).held():
                return self._sign(folder, growth)
        finally:
            folder.close()

    def _sign(self, folder: Folder, growth: Growth) -> Answer:
        head, file = growth.head, hashlib.sha256(growth.head.origin.encode()).hexdigest()
        try:
            known = TreeHead.parse(folder.read(file))
        except FileNotFoundError:
            known = TreeHead(head.origin, 0, EMPTY)
        is_same = growth.old == head.size and known.root == head.root
        if growth.old != known.size or (growth.old == head.size and not is_same):
            return Answer(409, f"{known.size}\n", SIZE)
        if not grew(known.root, known.size, head.root, head.size, growth.hashes):
            return Answer(422, "the new tree did not grow from the old one\n")
        folder.replace(file, head.note)
        return Answer(200, cosign(self._name, self._signer, head, int(time.time())))


def read_log(text: str) -> tuple[str, Ed25519PublicKey]:
    """Name and key of a log. Raises InvalidRequest."""
    try:
        return parse_verifier_key(text.strip())
    except ValueError as error:
        why = "give what minivault logs verifier-key prints"
        raise InvalidRequest([FieldError("log", why)]) from error


@dataclass(frozen=True, slots=True)
class WitnessAt:
    """A witness that is asked: where, and its public key."""

    url: str
    key: WitnessKey

    @classmethod
    def parse(cls, text: str) -> WitnessAt:
        """Reads URL#KEY. Raises InvalidRequest."""
        url, _, key = text.partition("#")
        return cls(url, WitnessKey.parse(key))

    def cosignatures(self, logs: Path, head: TreeHead) -> list[str]:
        """Has the witness sign the log's newest tree: its lines, of which its key's was checked.

        Raises NotWitnessed, ChainBroken.
        """
        kept = witnessed(logs)
        old = kept.size if kept and kept.origin == head.origin and self.key.seen(kept) else 0
        answer = _sent(self.url, _request(logs, head, min(old, head.size)))
        if answer.status == 409 and answer.kind == SIZE:
            answer = _sent(self.url, _request(logs, head, _size(answer, head)))
        if answer.status != 200:
            refusal = f"({answer.status}): {answer.body[:200].strip()}"
            raise NotWitnessed(f"the witness refuses {refusal}")
        lines = _lines(answer.body)
        if self.key.seen(replace(head, signatures="".join(lines))) is None:
            raise NotWitnessed(f"what the witness answered is not signed by {self.key.name}")
        return [each for each in lines if _name(each) == self.key.name]


def signed_head(logs: Path) -> TreeHead:
    """The log's newest tree. Raises BadCheckpoint if it is not signed, NotFound."""
    head = head_of(logs)
    if not head.is_signed:
        raise BadCheckpoint("a witness signs only what its log signs: serve --signing-key")
    return head


def keep(logs: Path, head: TreeHead, lines: Iterable[str]) -> TreeHead:
    """Keeps cosignatures of a tree beside it, with those that others gave for the same tree."""
    lines = list(lines)
    names = {_name(each) for each in lines}
    folder = Folder(logs)
    try:
        with Lock(folder).held():
            kept = witnessed(logs)
            before = kept if kept and kept.body == head.body else head
            others = before.signatures.splitlines(keepends=True)
            lines = [*(each for each in others if _name(each) not in names), *lines]
            seen = replace(head, signatures="".join(lines))
            TreeFolder(logs).publish(seen.note, WITNESSED)
    finally:
        folder.close()
    return seen


def ask(logs: Path, url: str, key: WitnessKey) -> TreeHead:
    """Has a witness sign the log's newest tree, and keeps that beside the tree.

    Raises NotWitnessed, BadCheckpoint, NotFound, ChainBroken.
    """
    head = signed_head(logs)
    return keep(logs, head, WitnessAt(url, key).cosignatures(logs, head))


def _request(logs: Path, head: TreeHead, old: int) -> bytes:
    """What shows a witness that knows the first `old` records that the tree grew from them."""
    try:
        hashes = Tiles(head.size, TreeFolder(logs).get).consistency(old)
    except DamagedTiles as error:
        raise ChainBroken(NAME, 0, f"the tree is damaged: {error}") from error
    return Growth(old, hashes, head).dump()


def _size(answer: Answer, head: TreeHead) -> int:
    size = answer.body.strip()[:20]
    if not (size.isascii() and size.isdecimal()) or int(size) > head.size:
        raise NotWitnessed(f"the witness knows a longer log of this name, of {size} records")
    return int(size)


def _sent(url: str, request: bytes) -> Answer:
    """Raises NotWitnessed if nobody answers."""
    address = f"{url.rstrip('/')}/add-checkpoint"
    if not address.startswith(("http://", "https://")):
        raise NotWitnessed(f"{url} is no address of a witness (http:// or https://)")
    try:
        with _opened(address, request) as answer:
            text = _text(answer, time.monotonic() + _WAIT)
            return Answer(answer.status or 0, text, answer.headers.get_content_type())
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise NotWitnessed(f"the witness {url} does not answer: {why}") from error


def _opened(address: str, request: bytes) -> http.client.HTTPResponse | urllib.error.HTTPError:
    """The answer, whatever its status is."""
    try:
        opened: http.client.HTTPResponse = urllib.request.urlopen(address, request, timeout=_WAIT)
    except urllib.error.HTTPError as error:
        return error
    return opened


def _text(answer: http.client.HTTPResponse | urllib.error.HTTPError, deadline: float) -> str:
    """Raises TimeoutError: a witness that sends a byte now and then would keep others waiting."""
    data = b""
    while some := answer.read1(MOST_BYTES - len(data)) if len(data) < MOST_BYTES else b"":
        data += some
        if time.monotonic() > deadline:
            raise TimeoutError("its answer takes too long")
    return data.decode(errors="replace")


def _lines(body: str) -> list[str]:
    """The signature lines of an answer, and nothing else of it."""
    return [f"{each}\n" for each in body.split("\n") if _SIGNATURE.fullmatch(each)]


def _name(line: str) -> str:
    """Whose a signature line is."""
    return line.split(" ")[1]
