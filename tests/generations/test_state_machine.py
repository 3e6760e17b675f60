"""Any order of starting, reading, leaving, coming back, stopping, expiring and restarting."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from minivault.errors import QueueFull
from minivault.generations import Event, Follower, Gone, Nothing, Resumed
from minivault.parsing import parse_parameters
from minivault.schemas import GenerateRequest
from tests.generations.backends import Reins
from tests.generations.house import House, house, settled

LENGTH = 6


@dataclass(eq=False)
class Reader:
    """A client, with what it has seen, as EventSource would keep it."""

    asked: GenerateRequest
    follower: Follower | None
    id: str = ""
    seen: int = -1
    pieces: int = 0
    text: str = ""
    end: str | None = None
    seed: int = 0

    def take(self, number: int, event: Event) -> None:
        if event.name == "gone" or not event.numbered:
            self.end = event.name if event.name == "gone" else self.end
            return
        assert number == self.seen + 1, "an event was lost or came twice"
        self.seen = number
        self.text += event.text
        self.pieces += event.name is None
        if event.name == "start":
            self.id, self.seed = event.data["id"], event.data["seed"]
        elif event.name:
            assert self.end is None, "two last events"
            self.end = event.name

    @property
    def whole(self) -> list[str]:
        words = random.Random(self.seed)
        return [f" {words.randrange(10**6)}" for _ in range(LENGTH)]


class Lives(RuleBasedStateMachine):
    """One log folder, one secret; server after server."""

    readers = Bundle("readers")

    @initialize()
    def first_life(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.everyone: list[Reader] = []
        self.open()

    def open(self) -> None:
        self.backend = Reins()
        self.context: AbstractAsyncContextManager[House] = house(
            self.folder, self.backend, max_running=2, max_waiting=2, grace=1e9
        )
        self.house = self.run(self.context.__aenter__())

    def run(self, work: Any) -> Any:
        async def then_settle() -> Any:
            result = await work
            await settled()
            return result

        return self.loop.run_until_complete(then_settle())

    @rule(target=readers, lives_on=st.booleans())
    def start(self, lives_on: bool) -> Any:
        asked = parse_parameters({"prompt": "a b", "max_tokens": LENGTH})
        work = self.house.generations.start(asked, self.house.visitor(lives_on=lives_on))
        try:
            reader = Reader(asked, self.run(work))
        except QueueFull:
            return multiple()
        self.everyone.append(reader)
        self.read(reader)
        return reader

    @rule(words=st.integers(1, 3))
    def make(self, words: int) -> None:
        self.backend.go(words)
        self.run(asyncio.sleep(0.002))

    @rule(reader=readers)
    def read(self, reader: Reader) -> None:
        """Takes what is there now, as one chunk from the socket."""
        if reader.follower is None:
            return
        for number, event in reader.follower.take():
            reader.take(number, event)
        if reader.end:
            self.leave(reader)

    @rule(reader=readers)
    def leave(self, reader: Reader) -> None:
        self.run(self.hang_up(reader))

    async def hang_up(self, reader: Reader) -> None:
        if reader.follower:
            reader.follower.close()
            reader.follower = None

    @rule(reader=readers, with_request=st.booleans())
    def come_back(self, reader: Reader, with_request: bool) -> None:
        if reader.follower or not reader.id or reader.end == "gone":
            return
        asked = reader.asked if with_request else None
        records = len(self.house.records())
        try:
            answer = self.run(
                self.house.generations.come_back(
                    reader.id, reader.seen, asked, self.house.visitor()
                )
            )
        except QueueFull:
            return
        if isinstance(answer, Resumed):
            reader.follower = answer.follower
            self.read(reader)
        elif isinstance(answer, Gone):
            reader.end = reader.end or "gone"
        else:
            assert isinstance(answer, Nothing)
            assert reader.end, "told that it has everything, without the last event"
        assert len(self.house.records()) >= records

    @rule(reader=readers)
    def stop(self, reader: Reader) -> None:
        known = self.house.registry.find(reader.id)
        if known and not known.ended:
            self.run(self.house.generations.stop(reader.id))

    @rule(reader=consumes(readers))
    def expire(self, reader: Reader) -> None:
        """Its time in memory is over."""
        self.leave(reader)
        known = self.house.registry.find(reader.id)
        if known and known.ended and not known.heard:
            self.house.registry.shelf.drop(known)

    @rule()
    def restart(self) -> None:
        for reader in self.everyone:
            self.leave(reader)
        self.run(self.context.__aexit__(None, None, None))
        self.open()

    @invariant()
    def every_text_is_a_beginning_of_the_right_one(self) -> None:
        for reader in getattr(self, "everyone", []):
            assert reader.text == "".join(reader.whole[: reader.pieces])
            if reader.end == "done":
                assert reader.text == "".join(reader.whole)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for reader in self.everyone:
            self.leave(reader)
        self.run(self.context.__aexit__(None, None, None))
        records = self.house.records()
        fresh = [record for record in records if "continues" not in record]
        assert len(fresh) == len(self.everyone), "not one record for each accepted request"
        lines = (self.folder / "log.jsonl").read_bytes().splitlines()
        hashes = ["0" * 64] + [sha256(line).hexdigest() for line in lines]
        assert [record["prev"] for record in records] == hashes[:-1]
        self.loop.close()
        shutil.rmtree(self.folder)


Lives.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLives = pytest.mark.slow(Lives.TestCase)
