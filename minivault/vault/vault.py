"""The vault: begins before the work, what is said as it is said, records before the last event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from minivault.errors import CannotStart
from minivault.schemas import Receipt
from minivault.vault.journal import Entry
from minivault.vault.reader import Reader
from minivault.vault.record import Begin, Outcome, Record, new_salt
from minivault.vault.retention import Rotation
from minivault.vault.secret import derive
from minivault.vault.withheld import Withholder
from minivault.vault.writer import Writer


class Vault:
    """What was asked and said, in a folder. Methods may be called from any thread.

    Futures resolve in the writer thread and cannot be cancelled. A begun entry must be committed,
    whatever happens to it; what is still open when the process ends becomes a record with the
    finish reason `interrupted` at the next `open`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store_text: bool = True,
        max_bytes: int = 64 * 2**20,
        keep_files: int | None = None,
        keep_days: float | None = None,
        signing_key: Path | None = None,
        secret: bytes = b"",
        fsync: bool = True,
    ) -> None:
        """`secret` keys the hashes of texts that are not stored; it is needed only for those."""
        if not store_text and not secret:
            raise CannotStart("texts that are not stored are hashed under a secret; there is none")
        self.reader = Reader(folder)
        rotation = Rotation(max_bytes, keep_files, keep_days)
        self._writer = Writer(folder, rotation, signing_key=signing_key, fsync=fsync)
        self._withholder = None if store_text else Withholder(derive(secret, "text"))
        self.pieces = self._writer.pieces

    def open(self) -> int:
        """Repairs what a crash left, and starts to write. Returns how many records it recovered.

        Raises CannotStart if the folder cannot be used, ChainBroken if the log was changed.
        """
        return self._writer.open()

    def close(self) -> None:
        """Writes what was handed in, and stops. Nothing may be begun any more."""
        self._writer.close()

    def on_redaction(self, told: Callable[[int], object]) -> None:
        """Calls `told` in the writer's thread when another process has redacted a record."""
        self._writer.on_redaction = told

    def begin(self, begin: Begin) -> Future[Entry]:
        """Accepts a request: the entry comes when it is durable, else LogUnavailable."""
        fields = {**begin.fields(), "salt": new_salt()}
        tally = None
        if self._withholder:
            fields = self._withholder.withhold(fields)
            tally = self._withholder.tally(fields["salt"], "response")
        return self._writer.begin(fields, tally)

    def commit(self, entry: Entry, outcome: Outcome) -> Future[Receipt]:
        """Ends a generation: the receipt comes when its record is durable, else LogUnavailable.

        A record that cannot be written now is kept and tried again until it is, exactly once.
        """
        fields = {**entry.fields, **outcome.fields()}
        if self._withholder:
            fields = self._withholder.withhold(fields)
        return self._writer.end(entry, fields)

    def find(self, id: str) -> list[Record]:
        """The records of a generation, newest first; compressed files are not searched."""
        return self.reader.find(id)

    @property
    def problem(self) -> str | None:
        """Why the log cannot be written now; None if it can."""
        return self._writer.problem

    @property
    def seq(self) -> int:
        """The newest record, as far as this process knows."""
        return self._writer.seq

    def statistics(self) -> Mapping[str, int]:
        """Counts since the start: writes, failures, bytes; and seq, open and unwritten now."""
        return self._writer.statistics()
