"""The vault: begins before the work, records before the last event, by one writer thread."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivault.errors import CannotStart, LogUnavailable
from minivault.schemas import Receipt
from minivault.vault.checkpoint import BadCheckpoint, Signer
from minivault.vault.journal import Entry, Journal, orphans
from minivault.vault.log import Log, Rotation
from minivault.vault.private_file import Folder, Lock, SyncFailed, reason
from minivault.vault.reader import Reader
from minivault.vault.record import Begin, Outcome, Record, new_salt, render
from minivault.vault.secret import derive
from minivault.vault.withheld import Withholder

_TICK = 1.0  # seconds between checkpoints, and between tries while the log cannot be written
_CLEAN_UP = 3600.0  # seconds between two looks for files that are too old


@dataclass(frozen=True, slots=True)
class _Begun:
    entry: Entry
    future: Future[Entry]


@dataclass(frozen=True, slots=True)
class _Ended:
    entry: Entry
    fields: dict[str, Any]
    body: bytes
    future: Future[Receipt] = field(default_factory=Future)


class _Stop:
    """Tells the writer thread that nothing comes after it."""


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
        self._path = folder
        self._rotation = Rotation(max_bytes, keep_files, keep_days)
        self._signing_key = signing_key
        self._fsync = fsync
        self._withholder = None if store_text else Withholder(derive(secret, "text"))
        self._queue: queue.SimpleQueue[_Begun | _Ended | _Stop] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vault", daemon=True)
        self._problem: str | None = "it is not open"
        self._is_final = True  # whether only a new start can help
        self._gate = threading.Lock()  # nothing is queued behind the stop
        self._is_closed = False
        self._unwritten: list[_Ended] = []
        self._counts = {"writes": 0, "failures": 0, "bytes": 0}
        self._ticked = self._cleaned = time.monotonic()

    # -- opening and closing ---------------------------------------------------------------------

    def open(self) -> int:
        """Repairs what a crash left, and starts the writer. Returns how many records it recovered.

        Raises CannotStart if the folder cannot be used, ChainBroken if the log was changed.
        """
        signer = Signer.load(self._signing_key) if self._signing_key else None
        self._folder = Folder(self._path)
        try:
            self._lock = Lock(self._folder)
            self._log = Log(self._folder, self._rotation, signer=signer, fsync=self._fsync)
            with self._lock.held():
                self._log.open()
                recovered = self._recover()
                self._log.remove_old()
                if not self._log.is_checkpointed:
                    self._log.write_checkpoint()
            self._journal = Journal(self._folder, self._lock, fsync=self._fsync)
        except OSError as error:
            raise CannotStart(f"the log in {self._folder.path}: {reason(error)}") from error
        except BadCheckpoint as error:
            raise CannotStart(f"the log in {self._folder.path}: {error}") from error
        self._problem, self._is_final = None, False
        self._thread.start()
        return recovered

    def close(self) -> None:
        """Writes what was handed in, and stops. Nothing may be begun any more."""
        with self._gate:
            if self._is_closed:
                return
            self._is_closed = True
            self._problem = self._problem or "it is closed"
            self._queue.put(_Stop())
        if self._thread.is_alive():
            self._thread.join()
            self._journal.close()
            self._log.close()
            self._lock.close()
            self._folder.close()

    # -- writing ---------------------------------------------------------------------------------

    def begin(self, begin: Begin) -> Future[Entry]:
        """Accepts a request: the entry comes when it is durable, else LogUnavailable."""
        future: Future[Entry] = Future()
        future.set_running_or_notify_cancel()
        if self._problem:
            future.set_exception(_unavailable(self._problem))
            return future
        fields = {**begin.fields(), "salt": new_salt()}
        tally = None
        if self._withholder:
            fields = self._withholder.withhold(fields)
            tally = self._withholder.tally(fields["salt"], "response")
        self._put(_Begun(Entry(fields, self._log.seq, tally), future))
        return future

    def pieces(self, pieces: Sequence[tuple[Entry, str]]) -> None:
        """Keeps what is said in one step, before anybody is told. Raises LogUnavailable.

        One write(2) and no fsync: a killed process loses nothing of it, a power cut may.
        """
        if self._is_final:
            raise _unavailable(self._problem)
        try:
            self._journal.pieces("".join([entry.piece_line(text) for entry, text in pieces]))
        except OSError as error:
            self._fail(error)
            raise _unavailable(self._problem) from error

    def commit(self, entry: Entry, outcome: Outcome) -> Future[Receipt]:
        """Ends a generation: the receipt comes when its record is durable, else LogUnavailable.

        A record that cannot be written now is kept and tried again until it is, exactly once.
        """
        fields = {**entry.fields, **outcome.fields()}
        if self._withholder:
            fields = self._withholder.withhold(fields)
        ended = _Ended(entry, fields, render(fields))
        ended.future.set_running_or_notify_cancel()
        self._put(ended)
        return ended.future

    # -- reading ---------------------------------------------------------------------------------

    def find(self, id: str) -> list[Record]:
        """The records of a generation, newest first; compressed files are not searched."""
        return Reader(self._path).find(id)

    @property
    def reader(self) -> Reader:
        return Reader(self._path)

    @property
    def problem(self) -> str | None:
        """Why the log cannot be written now; None if it can."""
        return self._problem

    def statistics(self) -> Mapping[str, int]:
        """Counts since the start: writes, failures, bytes; and seq, open and unwritten now."""
        now = {
            "seq": self._log.seq,
            "open": self._journal.open_entries,
            "unwritten": len(self._unwritten),
        }
        return self._counts | now

    def _put(self, job: _Begun | _Ended) -> None:
        with self._gate:
            if not self._is_closed:
                return self._queue.put(job)
        self._refuse([job], "it is closed")

    # -- the writer thread -----------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            begun, ended, running = self._collect()
            try:
                self._write_begins(begun)
                self._write_records(ended)
                self._tick(is_last=not running)
            except Exception as error:  # noqa: BLE001  # whatever it is, nobody may wait for ever
                self._is_final = True
                self._problem = f"its writer failed ({type(error).__name__}); restart the server"
                self._refuse(begun, self._problem)
                self._keep([each for each in ended if not each.future.done()])

    def _collect(self) -> tuple[list[_Begun], list[_Ended], bool]:
        """Everything that waits, in the order of its kind; waits at most until the next tick."""
        begun: list[_Begun] = []
        ended: list[_Ended] = []
        try:
            item = self._queue.get(timeout=_TICK)
            while True:
                match item:
                    case _Begun():
                        begun.append(item)
                    case _Ended():
                        ended.append(item)
                    case _Stop():
                        return begun, ended, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return begun, ended, True

    def _write_begins(self, begun: list[_Begun]) -> None:
        if not begun:
            return
        if self._problem and self._is_final:
            return self._refuse(begun, self._problem)
        entries = [each.entry for each in begun]
        try:
            self._journal.begin(entries)
            self._journal.sync()
        except OSError as error:
            self._fail(error)
            with contextlib.suppress(OSError):
                self._journal.void(entries)
            return self._refuse(begun, self._problem)
        self._counts["writes"] += 1
        for each in begun:
            each.future.set_result(each.entry)

    def _write_records(self, ended: list[_Ended]) -> None:
        if not ended:
            return
        try:
            receipts = self._append(ended)
        except (OSError, LogUnavailable) as error:
            self._fail(error)
            return self._keep(ended)
        for each, receipt in zip(ended, receipts, strict=True):
            each.future.set_result(receipt)

    def _append(self, ended: list[_Ended]) -> list[Receipt]:
        if self._is_final:
            raise _unavailable(self._problem)
        bodies = [each.body for each in ended]
        with self._lock.held():
            receipts = self._log.append(bodies)
            with contextlib.suppress(OSError):  # they are in the log; the rest can wait
                self._journal.forget(each.entry for each in ended)
        self._counts["writes"] += 1
        self._counts["bytes"] += sum(map(len, bodies))
        return receipts

    def _keep(self, ended: list[_Ended]) -> None:
        """What the log cannot take is kept here and, if possible, in the journal."""
        self._unwritten += ended
        with contextlib.suppress(OSError):
            for each in ended:
                self._journal.end(each.fields)
            self._journal.sync()
        self._refuse(ended, self._problem)

    def _tick(self, *, is_last: bool) -> None:
        """What is done once a second and at the end: try again, keep the head, clean up."""
        now = time.monotonic()
        if now - self._ticked < _TICK and not is_last:
            return
        self._ticked = now
        if (self._problem or self._unwritten) and not self._is_final:
            self._try_again()
        with contextlib.suppress(OSError, LogUnavailable):
            self._keep_head(now)

    def _try_again(self) -> None:
        try:
            if self._unwritten:
                self._append(self._unwritten)
                self._unwritten = []
            self._journal.probe()
        except OSError as error:
            self._fail(error)
        except LogUnavailable as error:
            self._problem = str(error)
        else:
            self._problem = None

    def _keep_head(self, now: float) -> None:
        if self._log.is_checkpointed or self._is_final:
            return
        with self._lock.held():
            self._log.catch_up()
            self._log.write_checkpoint()
            if now - self._cleaned > _CLEAN_UP:
                self._cleaned = now
                self._log.remove_old()

    def _fail(self, error: OSError | LogUnavailable) -> None:
        self._counts["failures"] += 1
        if isinstance(error, LogUnavailable):
            self._problem = str(error)
        elif isinstance(error, SyncFailed):
            self._is_final = True
            self._problem = (
                f"fsync failed ({reason(error)}); restart the server when the disk is well"
            )
        else:
            self._problem = reason(error)

    def _refuse(self, jobs: Sequence[_Begun | _Ended], why: str | None) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(_unavailable(why))

    # -- recovery --------------------------------------------------------------------------------

    def _recover(self) -> int:
        """Turns what dead processes had not finished into records, each exactly once."""
        recovered = 0
        for orphan in orphans(self._folder):
            try:
                recovered += self._finish(list(orphan.unfinished.values()), orphan.after)
                for name in orphan.names:
                    self._folder.remove(name)
            finally:
                orphan.close()
        return recovered

    def _finish(self, unfinished: list[dict[str, Any]], after: int) -> int:
        if not unfinished:
            return 0
        known = self._log.salts_after(after)
        bodies = [render(each) for each in unfinished if each["salt"].encode() not in known]
        if bodies:
            self._log.append(bodies)
        return len(bodies)


def _unavailable(why: str | None) -> LogUnavailable:
    return LogUnavailable(f"the log cannot be written: {why}")
