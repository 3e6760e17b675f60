"""The server's part: in threads of its own it ships the log and asks its witnesses, time and again.

Work never waits for it. How far each of them is stands in `/health` and `/metrics`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import NoReturn

from minivault.background import be_nice, carried, describe, start_thread
from minivault.errors import CannotStart, MiniVaultError, NotFound
from minivault.settings import Settings
from minivault.trace import trace
from minivault.vault.private_file import reason
from minivault.vault.publishing.shipping import Shipping, shipped
from minivault.vault.publishing.tile_log import Overtaken
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import witnessed
from minivault.vault.tree.witness import WitnessAt, keep, signed_head

logger = logging.getLogger("minivault")

_MOST_OVERTAKEN = 2  # in a row: who is overtaken more often is not in a race
_LAST = 10.0  # seconds that the last shipping may take when the server ends


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a bucket or a witness is: it has the records up to `seq`, and `behind` are missing,
    for so many `seconds`. `problem` says why it could not be given them."""

    name: str
    seq: int
    behind: int
    seconds: float
    problem: str | None


@dataclass(slots=True)
class Party:
    """A bucket or a witness as one thread knows it; others read single fields of it."""

    name: str
    role: str  # as in "the bucket s3://hashes"
    seq: int = 0
    problem: str | None = None
    level: float = field(default_factory=time.monotonic)  # when nothing was missing
    overtaken: int = 0  # so many times in a row

    def give(self, what: Callable[[], TreeHead | None]) -> None:
        """Does it once, and notes what came of it; says in the terminal what is new about that.

        Where it returns None another server did it, if anybody: nothing is known of how it went.
        """
        began = time.monotonic()
        overtaken, self.overtaken = self.overtaken, 0
        try:
            head = carried(what)
        except NotFound:  # there is nothing yet; the next round will do
            return
        except Overtaken as error:
            self.overtaken = overtaken + 1
            return self._fail(str(error)) if self.overtaken > _MOST_OVERTAKEN else None
        except MiniVaultError as error:
            return self._fail(str(error))
        except OSError as error:
            return self._fail(reason(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may go well
            logger.debug("%s: %s", self.name, trace(error))
            return self._fail(describe(error))
        if head is None:
            return
        self.seq, self.level = head.last, began
        if self.problem:
            logger.info("the %s %s has all again, up to record %d", self.role, self.name, self.seq)
        self.problem = None

    def standing(self, newest: int) -> Standing:
        behind = max(0, newest - self.seq)
        seconds = time.monotonic() - self.level if behind else 0.0
        return Standing(self.name, self.seq, behind, round(seconds, 1), self.problem)

    def _fail(self, why: str) -> None:
        if why != self.problem:
            logger.warning("the %s %s lacks records: %s", self.role, self.name, why)
        self.problem = why


class Publisher:
    """`start`, and at the end `close`, after the log was closed. All else: any thread."""

    def __init__(
        self,
        logs: Path,
        shipping: Shipping | None = None,
        witnesses: Sequence[WitnessAt] = (),
        *,
        ship_every: float = 10.0,
        witness_every: float = 60.0,
    ) -> None:
        """The times are in seconds."""
        self._logs = logs
        self._shipping = shipping
        self._asked = [(each, Party(each.key.name, "witness")) for each in witnesses]
        self._bucket = Party(shipping.hashes.url, "bucket") if shipping else None
        # How far they were when the last server ended. An error is told when it is read again.
        with contextlib.suppress(MiniVaultError, OSError):
            there, seen = shipped(logs), witnessed(logs)
            if self._bucket and there:
                self._bucket.seq = there.last
            for witness, party in self._asked:
                if seen and witness.key.seen(seen):
                    party.seq = seen.last
        self._ended = Event()
        self._ship_every, self._witness_every = ship_every, witness_every
        self._running: list[Future[None]] = []

    def start(self) -> None:
        if self._bucket:
            run = partial(self._run, self._ship, self._ship_every, [self._bucket])
            self._running.append(start_thread(run, name="shipping"))
        if self._asked:
            asked = [party for _, party in self._asked]
            run = partial(self._run, self._ask, self._witness_every, asked)
            self._running.append(start_thread(run, name="witnesses"))

    def close(self) -> None:
        """Gives what is left once more; buckets and witnesses that are away are not waited for."""
        self._ended.set()
        wait(self._running, _LAST)

    def shipping(self, newest: int) -> Standing | None:
        """`newest` is the log's newest record."""
        return self._bucket.standing(newest) if self._bucket else None

    def witnesses(self, newest: int) -> list[Standing]:
        return [party.standing(newest) for _, party in self._asked]

    def warnings(self) -> list[str]:
        """What is wrong now, in sentences."""
        parties = [self._bucket] if self._bucket else []
        parties += [party for _, party in self._asked]
        return [
            f"the {each.role} {each.name} has the log up to record {each.seq}: {each.problem}"
            for each in parties
            if each.problem
        ]

    def statistics(self, newest: int) -> Mapping[str, float]:
        """Of the witnesses the one that is behind most."""
        gauges: dict[str, float] = {}
        if bucket := self.shipping(newest):
            gauges = {"unshipped": bucket.behind, "unshipped_seconds": bucket.seconds}
        if asked := self.witnesses(newest):
            gauges["unwitnessed"] = max(each.behind for each in asked)
            gauges["unwitnessed_seconds"] = max(each.seconds for each in asked)
        return gauges

    def _run(self, work: Callable[[], None], every: float, parties: Sequence[Party]) -> None:
        be_nice()
        while True:
            is_last = self._ended.is_set()
            if not (is_last and any(each.problem for each in parties)):
                work()
            if is_last:
                return
            self._ended.wait(every)

    def _ship(self) -> None:
        assert self._shipping
        assert self._bucket
        self._bucket.give(partial(self._shipped, self._shipping, self._bucket))

    def _shipped(self, shipping: Shipping, bucket: Party) -> TreeHead | None:
        head = shipping.ship()
        if head is None and (there := shipped(self._logs)):  # by the server that ships now
            bucket.seq = there.last
        return head

    def _ask(self) -> None:
        """All of them about the same tree, so that a proof can carry the signatures of all."""
        try:
            carried(partial(self._ask_about, signed_head(self._logs), witnessed(self._logs)))
        except Exception as error:  # noqa: BLE001 - the thread goes on, and each is told why
            for _, party in self._asked:
                party.give(partial(_raise, error))

    def _ask_about(self, head: TreeHead, kept: TreeHead | None) -> None:
        lines: list[str] = []
        for witness, party in self._asked:
            if kept and kept.body == head.body and witness.key.seen(kept):
                party.give(lambda: head)
            else:
                party.give(partial(self._signed, witness, head, lines))
        if lines:
            keep(self._logs, head, lines)

    def _signed(self, witness: WitnessAt, head: TreeHead, lines: list[str]) -> TreeHead:
        lines += witness.cosignatures(self._logs, head)
        return head


def open_publisher(settings: Settings) -> Publisher:
    """As a server's settings say. Raises CannotStart, InvalidRequest."""
    shipping, witnesses = open_parties(settings)
    return Publisher(
        settings.logs_dir,
        shipping,
        witnesses,
        ship_every=settings.ship_every,
        witness_every=settings.witness_every,
    )


def open_parties(settings: Settings) -> tuple[Shipping | None, list[WitnessAt]]:
    """What is shipped, and who is asked. Raises CannotStart, InvalidRequest."""
    shipping = _open_shipping(settings)
    witnesses = [WitnessAt.parse(each) for each in settings.witness]
    if witnesses:
        _require_key(settings, "--witness")
    if settings.offline and (witnesses or (shipping and shipping.is_remote)):
        raise CannotStart("--offline opens no connection; --ship-hashes and --witness need one")
    return shipping, witnesses


def _open_shipping(settings: Settings) -> Shipping | None:
    """None if nothing is to be shipped. Raises CannotStart, InvalidRequest."""
    if not settings.ship_hashes:
        if settings.ship_texts:
            raise CannotStart("--ship-texts needs --ship-hashes: texts alone prove nothing")
        return None
    return Shipping.opened(
        settings.logs_dir,
        _require_key(settings, "--ship-hashes"),
        settings.ship_hashes,
        settings.ship_texts,
        settings.ship_credentials,
    )


def _require_key(settings: Settings, option: str) -> Path:
    """The signing key that an option needs. Raises CannotStart."""
    if settings.signing_key is None:
        raise CannotStart(f"{option} needs --signing-key: what leaves this machine is signed")
    return settings.signing_key


def _raise(error: Exception) -> NoReturn:
    raise error
