"""The checkpoint in its folder: who may write it, and over what."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from minivault.errors import LogUnavailable
from minivault.vault.chain import Head, Judge
from minivault.vault.checkpoint import NAME, Checkpoint, dump, judge, parse
from minivault.vault.private_file import Folder
from minivault.vault.record import GENESIS, new_salt
from minivault.vault.signing import BadCheckpoint, Signer

ADOPT = "look at it with minivault logs verify; if it is yours, minivault logs adopt signs it"


class CheckpointFile:
    """Every method is called with the folder's lock held.

    Whoever signs signs only what follows from what was signed before; whoever has no key leaves a
    signed checkpoint as it is.
    """

    def __init__(self, folder: Folder, signer: Signer | None = None) -> None:
        self._folder = folder
        self._signer = signer
        self.known = Checkpoint(_new_origin(), 0, GENESIS)

    def open(self) -> bool:
        """Reads it; returns whether there is one. Raises BadCheckpoint, OSError."""
        data = self._read()
        if data is None:
            return False
        try:
            self.known = parse(data, self._signer.public_key if self._signer else None)
        except BadCheckpoint as error:
            hint = f" ({ADOPT})" if self._signer else ""
            raise BadCheckpoint(f"{error}{hint}") from error
        return True

    @property
    def is_left_alone(self) -> bool:
        """Whether it is signed with a key that we do not have."""
        return self.known.is_signed and self._signer is None

    @property
    def head(self) -> Head:
        known = self.known
        return Head(known.seq, known.head, known.redacted) if known.seq else Head()

    @property
    def judge(self) -> Judge | None:
        """What a redaction that comes after the checkpoint must show."""
        return judge(self._signer.public_key, self.known.seq) if self._signer else None

    def write(self, head: Head) -> None:
        """Keeps the newest head. Raises LogUnavailable if the file is not as we left it."""
        self._take_over(head)
        if not self.is_left_alone:
            self.known = replace(self.known.advanced(head), is_signed=self._signer is not None)
            self._folder.replace(NAME, dump(self.known, self._signer))

    def beginning(self, head: Head) -> Head:
        """What the log's first record follows, as whoever removed old files last has written it.

        Raises LogUnavailable if the file is not as we left it.
        """
        self._take_over(head)
        return Head(self.known.first - 1, self.known.base, None)

    def begin_at(self, first: int, base: str, head: Head) -> None:
        """Says that the log now begins with record `first`."""
        self.known = replace(self.known, first=first, base=base)
        self.write(head)

    def look(self) -> Checkpoint | None:
        """What is there, whoever signed it; None if nothing can be read."""
        try:
            self.known = parse(self._read() or b"")
        except BadCheckpoint:
            return None
        return self.known

    def adopt(self, head: Head, first: int, base: str, *, is_other: bool) -> Checkpoint | None:
        """Vouches for this head whatever was there before; returns that.

        The log gets a new name if it `is_other` than the one that was vouched for.
        """
        before = self.look()
        origin = _new_origin() if is_other else self.known.origin
        known = replace(self.known, origin=origin, first=first, base=base).advanced(head)
        self.known = replace(known, is_signed=self._signer is not None)
        self._folder.replace(NAME, dump(self.known, self._signer))
        return before

    def _take_over(self, head: Head) -> None:
        """Another process on this log may have signed, or removed old files."""
        data = self._read()
        if data is None:
            return
        if self._signer is None:
            with contextlib.suppress(BadCheckpoint):
                known = parse(data)
                if known.is_signed or known.first > self.known.first:
                    self.known = known
            return
        try:
            known = parse(data, self._signer.public_key)
        except BadCheckpoint as error:
            raise LogUnavailable(f"something else wrote the checkpoint: {error}") from error
        if known.origin != self.known.origin or known.seq > head.seq:
            raise LogUnavailable("something else wrote the checkpoint: it is not this log's")
        if known.first > self.known.first:
            self.known = known

    def _read(self) -> bytes | None:
        try:
            return self._folder.read(NAME)
        except FileNotFoundError:
            return None


def _new_origin() -> str:
    return f"minivault/{new_salt()}"
