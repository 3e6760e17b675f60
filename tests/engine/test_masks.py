"""Texts whose masks take long sit out until these are there, and nobody else waits for them."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from threading import Event, current_thread, main_thread

import pytest

from minivault.engine.engine import Engine
from minivault.engine.grammar import Grammars
from minivault.engine.likeliest import Row
from minivault.engine.native.runner import NativeRunner
from minivault.engine.sequence import Constraint, Output, SamplingParams, Sequence
from minivault.schemas import FinishReason
from tests.engine.gpt2_models import load, make_sequence, random_prompt, save_gpt2
from tests.engine.vocabularies import byte_level

NAMES = {"type": "array", "items": {"type": "string", "pattern": "^([a-z]{2,9} ?){3,8}$"}}
FORMAT = {"type": "json_schema", "schema": NAMES | {"minItems": 3}}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> NativeRunner:
    return load(save_gpt2(tmp_path_factory.mktemp("model")), dtype="float32")


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(byte_level().to_str(), [0])


class Halting:
    """A real constraint that is known to be slow, and is, until `go`: each of its masks."""

    cost = 1.0

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self.apply, self.accept = constraint.apply, constraint.accept
        self.began, self.go = Event(), Event()

    @property
    def is_complete(self) -> bool:
        return self._constraint.is_complete

    def prepare(self) -> None:
        self.began.set()
        assert self.go.wait(60)
        self._constraint.prepare()


def ask(seed: int, constraint: Constraint | None = None, tokens: int = 40) -> Sequence:
    params = SamplingParams(tokens, temperature=1, seed=seed)
    sequence = make_sequence(random_prompt(seed, 9), params)
    sequence.constraint = constraint
    return sequence


def held(grammars: Grammars) -> Constraint:
    constraint = grammars.constraint(FORMAT)
    assert constraint is not None
    return constraint


def rest(engine: Engine) -> Iterator[Output]:
    while engine.busy:
        yield from engine.step()


def test_a_slow_mask_keeps_nobody_but_its_own_text(
    runner: NativeRunner, grammars: Grammars
) -> None:
    within, alone = ask(1, held(grammars)), ask(2, tokens=200)
    for each in (within, alone):
        (engine := Engine(runner)).add(each)
        list(rest(engine))
        engine.close()
    halting = Halting(held(grammars))
    slow, reader = ask(1, halting), ask(2, tokens=200)
    engine = Engine(runner)
    engine.add(slow)
    engine.add(reader)
    for _ in range(30):
        engine.step()
    assert halting.began.wait(60)
    assert len(slow.generated) == 1
    assert len(reader.generated) >= 30
    assert engine.statistics()["batch_size"] == 1
    halting.go.set()
    list(rest(engine))
    assert (slow.generated, reader.generated) == (within.generated, alone.generated)
    assert slow.waited > 0
    assert engine.statistics()["schema_seconds"] > 0
    engine.close()


def test_whoever_sits_out_does_not_keep_others_from_guessing_ahead(
    runner: NativeRunner, grammars: Grammars
) -> None:
    halting = Halting(held(grammars))
    slow = ask(1, halting)
    reader = make_sequence(random_prompt(0, 10) * 6, SamplingParams(60, temperature=0))
    engine = Engine(runner)
    engine.add(slow)
    engine.add(reader)
    while len(reader.generated) < 50:
        engine.step()
    assert len(slow.generated) == 1
    assert reader.drafted > 0
    halting.go.set()
    list(rest(engine))
    engine.close()


def test_a_text_alone_waits_for_its_mask_without_a_step(
    runner: NativeRunner, grammars: Grammars
) -> None:
    """And a newcomer does not wait with it; nor does whoever stops it."""
    delivered: queue.Queue[list[Output]] = queue.Queue()
    engine = Engine(runner)
    engine.start(delivered.put)
    halting = Halting(held(grammars))
    slow, reader = ask(1, halting), ask(2, tokens=3)
    engine.add(slow)
    assert delivered.get(timeout=60)[0].sequence is slow
    assert halting.began.wait(60)
    engine.add(reader)
    said = [delivered.get(timeout=60) for _ in range(3)]
    assert [each.sequence for step in said for each in step] == [reader] * 3
    assert engine.statistics()["steps"] == 4
    engine.cancel(slow)
    assert delivered.get(timeout=60) == [Output(slow, finish=FinishReason.CANCELLED)]
    halting.go.set()
    engine.close()


def test_masks_beyond_the_steps_share_go_to_the_background(
    runner: NativeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these is quick, all of them together are not."""
    threads = []

    class Free:
        is_complete = False

        def __init__(self, cost: float) -> None:
            self.cost = cost

        def prepare(self) -> None:
            threads.append((self.cost, current_thread() is main_thread()))

        def apply(self, row: Row) -> None:
            pass

        def accept(self, token: int) -> None:
            pass

    monkeypatch.setattr("minivault.engine.masks.SHARE", 0.0)
    engine = Engine(runner)
    for seed, cost in enumerate([4e-4, 5e-4, 3e-4, 1e-4]):
        engine.add(ask(seed, Free(cost), tokens=2))
    list(rest(engine))
    assert sorted(threads) == [(1e-4, True), (3e-4, False), (4e-4, True), (5e-4, True)]
    engine.close()
