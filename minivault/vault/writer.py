"""The one thread that writes: journal and log, many requests with one append and one fsync."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from minivault.errors import CannotStart, LogUnavailable
from minivault.schemas import Receipt
from minivault.trace import trace
from minivault.vault.inbox import Begun, Ended, Inbox
from minivault.vault.journal import Entry, Journal
from minivault.vault.log import Log
from minivault.vault.private_file import Folder, Lock, SyncFailed, reason
from minivault.vault.record import render
from minivault.vault.recovery import recover
from minivault.vault.retention import Rotation
from minivault.vault.signing import BadCheckpoint, Signer
from minivault.vault.withheld import Tally

logger = logging.getLogger("minivault")

_TICK = 1.0  # seconds between checkpoints, and between tries while the log cannot be written
_CLEAN_UP = 3600.0  # seconds between two looks for files that are too old


class Writer:
    """Owns the folder's files while a process writes. `begin`, `pieces`, `end`: any thread.

    Futures resolve in the writer's thread and cannot be cancelled.
    """

    def __init__(
        self, path: Path, rotation: Rotation, *, signing_key: Path | None, fsync: bool
    ) -> None:
        self._path = path
        self._rotation = rotation
        self._signing_key = signing_key
        self._fsync = fsync
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._run, name="vault", daemon=True)
        self._is_final = True  # whether only a new start can help
        self._unwritten: list[Ended] = []
        self._counts = {"writes": 0, "failures": 0, "bytes": 0}
        self._ticked = self._cleaned = time.monotonic()
        self.problem: str | None = "it is not open"
        self.on_redaction: Callable[[int], object] = lambda seq: None

    def open(self) -> int:
        """Repairs, recovers, and starts the thread; see `Vault.open`."""
        signer = Signer.load(self._signing_key) if self._signing_key else None
        with contextlib.ExitStack() as opened:
            self._folder = Folder(self._path)
            opened.callback(self._folder.close)
            try:
                self._lock = Lock(self._folder)
                self._log = Log(self._folder, self._rotation, signer=signer, fsync=self._fsync)
                opened.callback(self._log.close)
                with self._lock.held():
                    self._log.open()
                    recovered = recover(self._folder, self._log)
                    self._log.remove_old()
                    if recovered:
                        self._log.write_checkpoint()
                self._journal = Journal(self._folder, self._lock, fsync=self._fsync)
                opened.callback(self._journal.close)
            except (OSError, BadCheckpoint, LogUnavailable) as error:
                why = reason(error) if isinstance(error, OSError) else str(error)
                raise CannotStart(f"the log in {self._folder.path}: {why}") from error
            self._opened = opened.pop_all()
        self.problem, self._is_final = None, False
        self._thread.start()
        return recovered

    def close(self) -> None:
        """Writes what was handed in, and stops."""
        if not self._inbox.close():
            return
        if self._thread.ident:  # it was opened; the thread may have ended by now
            self._thread.join()
            self._opened.close()
        self.problem = self.problem or "it is closed"

    def begin(self, fields: dict[str, Any], tally: Tally | None) -> Future[Entry]:
        entry = Entry(fields, self._log.head.seq, tally)
        future: Future[Entry] = Future()
        future.set_running_or_notify_cancel()
        if self.problem:
            future.set_exception(unavailable(self.problem))
        elif not self._inbox.put(Begun(entry, future)):
            future.set_exception(unavailable("it is closed"))
        return future

    def pieces(self, pieces: Sequence[tuple[Entry, str]]) -> None:
        """Keeps what is said in one step, before anybody is told. Raises LogUnavailable.

        One write(2) in the caller's thread and no fsync: a killed process loses nothing of it, a
        power cut may.
        """
        if self._is_final:
            raise unavailable(self.problem)
        lines = [entry.piece_line(text) for entry, text in pieces]
        try:
            self._journal.write("".join(lines).encode("ascii"))
        except OSError as error:
            self._fail(error)
            raise unavailable(self.problem) from error

    def end(self, entry: Entry, fields: dict[str, Any]) -> Future[Receipt]:
        ended = Ended(entry, fields, render(fields), Future())
        ended.future.set_running_or_notify_cancel()
        if not self._inbox.put(ended):
            ended.future.set_exception(unavailable("it is closed"))
        return ended.future

    @property
    def seq(self) -> int:
        """The newest record's place, as far as this process knows."""
        return self._log.seq

    def statistics(self) -> Mapping[str, int]:
        return {
            **self._counts,
            "seq": self.seq,
            "open": self._journal.open_entries,
            "unwritten": len(self._unwritten),
        }

    def _run(self) -> None:
        running = True
        while running:
            begun, ended, running = self._inbox.take(_TICK)
            try:
                if begun:
                    self._write_begins(begun)
                if ended:
                    self._write_records(ended)
                self._tick(is_last=not running)
            except BaseException as error:  # noqa: BLE001  # whatever it is, nobody may wait for ever
                self._give_up(error, begun, ended)

    def _give_up(self, error: BaseException, begun: list[Begun], ended: list[Ended]) -> None:
        """What nobody foresaw ends the writing, and those who wait are told; the thread goes on."""
        logger.error("the log's writer failed:\n%s", trace(error))
        self._is_final = True
        self.problem = f"its writer failed ({type(error).__name__}); restart the server"
        self._refuse(begun, self.problem)
        left = [each for each in ended if not each.future.done()]
        try:
            self._keep(left)
        except BaseException as again:  # noqa: BLE001  # the journal may be what failed
            logger.error("the journal could not take what was left:\n%s", trace(again))
            self._refuse(left, self.problem)

    def _write_begins(self, begun: list[Begun]) -> None:
        if self.problem and self._is_final:
            return self._refuse(begun, self.problem)
        entries = [each.entry for each in begun]
        try:
            self._journal.begin(entries)
            self._journal.sync()
        except OSError as error:
            self._fail(error)
            with contextlib.suppress(OSError):
                self._journal.void(entries)
            return self._refuse(begun, self.problem)
        self._counts["writes"] += 1
        for each in begun:
            each.future.set_result(each.entry)

    def _write_records(self, ended: list[Ended]) -> None:
        try:
            receipts = self._append(ended)
        except (OSError, LogUnavailable) as error:
            self._fail(error)
            return self._keep(ended)
        for each, receipt in zip(ended, receipts, strict=True):
            each.future.set_result(receipt)

    def _append(self, ended: list[Ended]) -> list[Receipt]:
        if self._is_final:
            raise unavailable(self.problem)
        bodies = [each.body for each in ended]
        with self._lock.held():
            receipts = self._log.append(bodies)
            with contextlib.suppress(OSError):  # they are in the log; the rest can wait
                self._journal.forget(each.entry for each in ended)
        self._counts["writes"] += 1
        self._counts["bytes"] += sum(map(len, bodies))
        return receipts

    def _keep(self, ended: list[Ended]) -> None:
        """What the log cannot take is kept here and, if possible, in the journal."""
        self._unwritten += ended
        with contextlib.suppress(OSError):
            for each in ended:
                self._journal.end(each.fields)
            self._journal.sync()
        self._refuse(ended, self.problem)

    def _tick(self, *, is_last: bool) -> None:
        """What is done once a second and at the end: try again, keep the head, clean up."""
        now = time.monotonic()
        if now - self._ticked < _TICK and not is_last:
            return
        self._ticked = now
        if (self.problem or self._unwritten) and not self._is_final:
            return self._try_again()
        try:
            self._tidy(now)
        except LogUnavailable as error:
            self._fail(error)
        except OSError:  # a checkpoint can wait
            pass

    def _try_again(self) -> None:
        try:
            missing = self._missing()
            if missing:
                self._append(missing)
            self._unwritten = []
            self._journal.probe()
            self._keep_head()
        except OSError as error:
            self._fail(error)
        except LogUnavailable as error:
            self.problem = str(error)
        else:
            self.problem = None

    def _missing(self) -> list[Ended]:
        """The unwritten that are not in the log: a failed write may have left whole lines."""
        if not self._unwritten:
            return []
        with self._lock.held():
            self._log.catch_up()
            known = self._log.salts_after(min(each.entry.after for each in self._unwritten))
            there = [each for each in self._unwritten if each.entry.salt.encode() in known]
            self._journal.forget(each.entry for each in there)
        return [each for each in self._unwritten if each not in there]

    def _tidy(self, now: float) -> None:
        if self._is_final:
            return
        if not self._log.is_checkpointed or self._log.has_news():
            self._keep_head()
        if now - self._cleaned > _CLEAN_UP:
            self._cleaned = now
            with self._lock.held():
                self._log.remove_old()

    def _keep_head(self) -> None:
        with self._lock.held():
            self._journal.tidy()
            self._log.catch_up()
            self._log.write_checkpoint()
        redacted, self._log.redacted = self._log.redacted, []
        with contextlib.suppress(RuntimeError):  # the loop that would be told is closed
            for seq in redacted:
                self.on_redaction(seq)

    def _fail(self, error: OSError | LogUnavailable) -> None:
        self._counts["failures"] += 1
        if isinstance(error, LogUnavailable):
            self.problem = str(error)
        elif isinstance(error, SyncFailed):
            self._is_final = True
            self.problem = (
                f"fsync failed ({reason(error)}); restart the server when the disk is well"
            )
        else:
            self.problem = reason(error)

    def _refuse(self, jobs: Sequence[Begun | Ended], why: str | None) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(unavailable(why))


def unavailable(why: str | None) -> LogUnavailable:
    return LogUnavailable(f"the log cannot be written: {why}")
