"""The engine: who runs when, who leaves, what fails, and what a thread delivers."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import pytest

from minivault.engine.engine import Engine
from minivault.engine.likeliest import Row
from minivault.engine.native.runner import NativeRunner
from minivault.engine.runner import Runner
from minivault.engine.sampler import sample
from minivault.engine.sequence import Output, SamplingParams, Sequence, State
from minivault.engine.transformers.runner import TransformersRunner
from minivault.errors import BackendFailed, Unavailable
from minivault.schemas import FinishReason
from tests.engine.gpt2_models import Ids, load, make_sequence, random_prompt, save_gpt2
from tests.engine.small_models import save_model


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> NativeRunner:
    return load(save_gpt2(tmp_path_factory.mktemp("model")), dtype="float32")


def ask(length: int = 5, tokens: int = 4, seed: int = 0) -> Sequence:
    return make_sequence(random_prompt(seed, length), SamplingParams(tokens, temperature=0))


def steps(engine: Engine) -> Iterator[list[Output]]:
    while engine.busy:
        yield engine.step()


def last_of(outputs: list[Output], sequence: Sequence) -> Output:
    return [each for each in outputs if each.sequence is sequence][-1]


def test_sequences_get_places_in_order_of_arrival(runner: NativeRunner) -> None:
    engine = Engine(runner, max_running=2)
    asked = [ask(tokens=2), ask(tokens=6), ask(tokens=2), ask(tokens=2)]
    for each in asked:
        engine.add(each)
    engine.step()
    assert [each.state for each in asked] == [State.RUNNING] * 2 + [State.WAITING] * 2
    engine.step()
    engine.step()
    assert [each.state for each in asked][0] is State.ENDED
    assert [each.state for each in asked][2:] == [State.RUNNING, State.WAITING]
    assert engine.statistics()["waiting"] == 1


def test_every_step_gives_each_running_sequence_one_token(runner: NativeRunner) -> None:
    engine = Engine(runner)
    first, second = ask(tokens=5), ask(tokens=3, seed=1)
    engine.add(first)
    assert len(engine.step()) == 1
    engine.add(second)
    assert len(engine.step()) == 2
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, first).finish is FinishReason.LENGTH
    assert (len(first.generated), len(second.generated)) == (5, 3)


def test_a_long_newcomer_does_not_stop_those_who_run(runner: NativeRunner) -> None:
    engine = Engine(runner)
    running, long = ask(tokens=30), ask(length=240, tokens=2)
    engine.add(running)
    engine.step()
    engine.add(long)
    until_first = 0
    while not long.generated:
        outputs = engine.step()
        assert last_of(outputs, running).token_id is not None
        until_first += 1
    assert until_first == 4  # 239 tokens are four chunks of 64


def test_a_short_newcomer_speaks_in_the_step_in_which_it_arrives(runner: NativeRunner) -> None:
    engine = Engine(runner)
    newcomers = [ask(length=32, seed=seed) for seed in range(2)]
    for each in newcomers:
        engine.add(each)
    assert {each.sequence for each in engine.step()} == set(newcomers)


def test_memory_for_keys_and_values_is_never_exceeded(runner: NativeRunner) -> None:
    engine = Engine(runner, kv_memory=100 * runner.kv_bytes_per_token)
    asked = [ask(length=30, tokens=10, seed=seed) for seed in range(5)]
    for each in asked:
        engine.add(each)
    most = 0.0
    for _ in steps(engine):
        now = engine.statistics()
        assert now["kv_bytes"] <= now["kv_limit_bytes"]
        most = max(most, now["running"])
    assert most == 2
    assert all(len(each.generated) == 10 for each in asked)


def test_what_can_never_fit_is_refused(runner: NativeRunner) -> None:
    engine = Engine(runner, kv_memory=50 * runner.kv_bytes_per_token)
    with pytest.raises(ValueError, match="60 tokens do not fit"):
        engine.add(ask(length=30, tokens=30))
    for length in (0, 256):
        with pytest.raises(ValueError, match="a prompt has at least one token"):
            engine.add(ask(length=length))


def test_the_context_ends_a_text(runner: NativeRunner) -> None:
    engine = Engine(runner)
    long = ask(length=250, tokens=100)
    engine.add(long)
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, long).finish is FinishReason.LENGTH
    assert len(long.generated) == 6


def test_an_end_token_ends_a_text_and_is_not_said(runner: NativeRunner) -> None:
    first = ask(tokens=8)
    plain = Engine(runner)
    plain.add(first)
    list(steps(plain))
    engine = Engine(runner, end_ids=frozenset({first.generated[3]}))
    again = ask(tokens=8)
    engine.add(again)
    outputs = [output for step in steps(engine) for output in step]
    place = first.generated.index(first.generated[3])
    assert again.generated == first.generated[:place]
    assert outputs[-1] == Output(again, finish=FinishReason.STOP)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_cancelled_sequence_leaves_at_the_next_step(runner: NativeRunner, after: int) -> None:
    engine = Engine(runner, max_running=1)
    first, second = ask(tokens=50), ask(tokens=2)
    engine.add(first)
    engine.add(second)
    for _ in range(after):
        engine.step()
    engine.cancel(first)
    outputs = engine.step()
    assert last_of(outputs, first) == Output(first, finish=FinishReason.CANCELLED)
    assert first.state is State.ENDED
    assert first.cache is None
    assert second.state is State.RUNNING


def test_a_cancelled_one_that_waits_never_runs(runner: NativeRunner) -> None:
    engine = Engine(runner, max_running=1)
    first, second = ask(tokens=3), ask()
    engine.add(first)
    engine.add(second)
    engine.cancel(second)
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, second).finish is FinishReason.CANCELLED
    assert second.generated == []


class Faulty:
    """A runner that raises where it is told to; everything else it hands on."""

    def __init__(self, runner: NativeRunner) -> None:
        self._runner = runner
        self.context_length = runner.context_length
        self.vocabulary = self.embedded = runner.vocabulary
        self.kv_bytes_per_token = runner.kv_bytes_per_token
        self.reproducible = True
        self.mode = runner.mode
        self.notice = runner.notice
        self.description = runner.description
        self.reserved_tokens = runner.reserved_tokens
        self.release = runner.release
        self.is_ahead = runner.is_ahead
        self.lacks = runner.lacks
        self.statistics = runner.statistics
        self.fails_prefill: Sequence | None = None
        self.fails_decode = False
        self.not_a_number: Sequence | None = None

    def prefill(self, sequence: Sequence) -> bool:
        if sequence is self.fails_prefill:
            raise RuntimeError("no memory")
        return self._runner.prefill(sequence)

    def decode(self, sequences: Many[Sequence]) -> Row:
        if self.fails_decode:
            raise RuntimeError("no memory")
        logits = self._runner.decode(sequences).copy()
        if self.not_a_number in sequences:
            logits[sequences.index(self.not_a_number)] = float("nan")
        return logits

    def draw(self, sequences: Many[Sequence]) -> tuple[list[int], list[Row]]:
        logits = self.decode(sequences)
        drawn = [sample(row, each) for row, each in zip(logits.copy(), sequences, strict=True)]
        return drawn, list(logits)


def test_a_failed_prefill_ends_that_sequence_alone(runner: NativeRunner) -> None:
    faulty = Faulty(runner)
    engine = Engine(faulty)
    good, bad = ask(tokens=3), ask(seed=1)
    faulty.fails_prefill = bad
    engine.add(good)
    engine.add(bad)
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, bad).finish is FinishReason.ERROR
    assert isinstance(last_of(outputs, bad).error, RuntimeError)
    assert last_of(outputs, good).finish is FinishReason.LENGTH


class Panic(BaseException):
    """What extensions throw: no Exception."""


@pytest.mark.parametrize("kind", [RuntimeError, Panic])
@pytest.mark.parametrize("family", ["gpt2", pytest.param("any", marks=pytest.mark.slow)])
def test_what_one_sequence_raises_in_a_step_ends_that_one_alone(
    runner: NativeRunner,
    family: str,
    kind: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: Runner = (
        runner if family == "gpt2" else TransformersRunner(save_model("gpt_neox", tmp_path))
    )
    alone = ask(length=20, tokens=12)
    (engine := Engine(used)).add(alone)
    list(steps(engine))
    good, bad = ask(length=20, tokens=12), ask(length=9, seed=1, tokens=12)
    owner: object = runner if family == "gpt2" else TransformersRunner
    name = "_rows" if family == "gpt2" else "_next"
    compute = getattr(owner, name)

    def fails(*given: Any) -> Any:
        result = compute(*given)
        concerned = [*given, *(one for each in given if isinstance(each, list) for one in each)]
        if bad in concerned and len(bad.generated) == 5:
            raise kind("in the middle")
        return result

    monkeypatch.setattr(owner, name, fails)
    engine.add(good)
    engine.add(bad)
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, bad).finish is FinishReason.ERROR
    assert isinstance(last_of(outputs, bad).error, Exception)
    assert len(bad.generated) == 5
    assert good.generated == alone.generated
    assert engine.statistics()["kv_bytes"] == 0


def test_a_release_that_raises_ends_nobody(
    runner: NativeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Faulty(runner)
    engine = Engine(faulty)
    good, bad = ask(tokens=5), ask(tokens=2, seed=1)

    def fails(sequence: Sequence) -> None:
        runner.release(sequence)
        if sequence is bad:
            raise Panic

    faulty.release = fails
    engine.add(good)
    engine.add(bad)
    list(steps(engine))
    assert (len(good.generated), len(bad.generated)) == (5, 2)
    assert "could not be released" in caplog.text


def test_a_step_that_fails_for_all_ends_all_and_the_engine_goes_on(runner: NativeRunner) -> None:
    faulty = Faulty(runner)
    engine = Engine(faulty)
    lost = [ask(), ask(seed=1)]
    for each in lost:
        engine.add(each)
    engine.step()
    faulty.fails_decode = True
    assert [each.finish for each in engine.step()] == [FinishReason.ERROR] * 2
    faulty.fails_decode = False
    later = ask()
    engine.add(later)
    outputs = [output for step in steps(engine) for output in step]
    assert last_of(outputs, later).finish is FinishReason.LENGTH
    assert engine.statistics()["kv_bytes"] == 0


def test_logits_that_are_no_numbers_end_that_sequence_alone(runner: NativeRunner) -> None:
    faulty = Faulty(runner)
    engine = Engine(faulty)
    good, bad = ask(tokens=3), ask(seed=1)
    faulty.not_a_number = bad
    engine.add(good)
    engine.add(bad)
    outputs = [output for step in steps(engine) for output in step]
    assert isinstance(last_of(outputs, bad).error, ArithmeticError)
    assert last_of(outputs, good).finish is FinishReason.LENGTH


class Breaks(Ids):
    def push(self, token_id: int) -> str:
        raise UnicodeError("half a character")


def test_a_text_stream_that_raises_ends_its_own_sequence(runner: NativeRunner) -> None:
    engine = Engine(runner)
    bad = Sequence([1, 2], SamplingParams(5, temperature=0), Breaks())
    good = ask(tokens=3)
    engine.add(bad)
    engine.add(good)
    outputs = [output for step in steps(engine) for output in step]
    assert isinstance(last_of(outputs, bad).error, UnicodeError)
    assert last_of(outputs, good).finish is FinishReason.LENGTH


class Unsatisfiable:
    """A constraint that gives up after five tokens, as one does whose grammar grows too large."""

    is_complete = False

    def __init__(self, place: str, cost: float = 0.0) -> None:
        self.place, self.cost = place, cost
        self.accepted = 0

    def prepare(self) -> None:
        self._raise("prepare")

    def apply(self, row: Row) -> None:
        self._raise("apply")

    def accept(self, token: int) -> None:
        self.accepted += 1

    def _raise(self, place: str) -> None:
        if place == self.place and self.accepted == 5:
            raise BackendFailed("the text cannot be held to its schema any further")


@pytest.mark.parametrize("prompt", [random_prompt(0, 20), random_prompt(0, 10) * 3])
@pytest.mark.parametrize("constraint", [("apply",), ("prepare",), ("prepare", 1.0)], ids=str)
def test_a_constraint_that_raises_ends_its_own_sequence(
    runner: NativeRunner, prompt: list[int], constraint: Any
) -> None:
    """Whatever else was computed in that step, some of it guessed ahead, counts once."""
    alone, good = (make_sequence(prompt, SamplingParams(24, temperature=0)) for _ in range(2))
    (engine := Engine(runner)).add(alone)
    list(steps(engine))
    bad = ask(tokens=24, seed=1)
    bad.constraint = Unsatisfiable(*constraint)
    engine.add(good)
    engine.add(bad)
    outputs = [output for step in steps(engine) for output in step]
    assert isinstance(last_of(outputs, bad).error, BackendFailed)
    assert len(bad.generated) == 5
    assert last_of(outputs, good).finish is FinishReason.LENGTH
    assert good.generated == alone.generated


class Stops(Ids):
    """Finds a stop string in its third token."""

    def __init__(self) -> None:
        self.pushed = 0

    def push(self, token_id: int) -> str:
        self.pushed += 1
        self.stopped = self.pushed == 3
        return "" if self.stopped else "x"

    def flush(self) -> str:
        raise AssertionError("a stopped text has nothing left")


def test_a_stop_string_ends_a_text(runner: NativeRunner) -> None:
    engine = Engine(runner)
    sequence = Sequence([1, 2], SamplingParams(9, temperature=0), Stops())
    engine.add(sequence)
    outputs = [output for step in steps(engine) for output in step]
    assert "".join(each.text for each in outputs) == "xx"
    assert outputs[-1].finish is FinishReason.STOP
    assert outputs[-1].token_id is not None


def test_the_thread_delivers_each_steps_outputs_in_one_call(runner: NativeRunner) -> None:
    delivered: queue.Queue[list[Output]] = queue.Queue()
    engine = Engine(runner)
    engine.start(delivered.put)
    sequence = ask(tokens=6)
    engine.add(sequence)
    outputs: list[Output] = []
    while not outputs or outputs[-1].finish is None:
        outputs += delivered.get(timeout=60)
    engine.close()
    assert outputs[-1].finish is FinishReason.LENGTH
    assert delivered.empty()
    by_hand = Engine(runner)
    again = ask(tokens=6)
    by_hand.add(again)
    list(steps(by_hand))
    assert again.generated == sequence.generated


@pytest.mark.parametrize("kind", [LookupError, Panic])
def test_a_deliverer_that_raises_breaks_the_engine_and_is_told(
    runner: NativeRunner, kind: type[BaseException]
) -> None:
    def deliver(outputs: list[Output]) -> None:
        raise kind("nobody there")

    engine = Engine(runner)
    engine.start(deliver)
    sequence = ask()
    engine.add(sequence)
    assert engine._thread is not None
    engine._thread.join(30)
    assert engine.problem() == f"the engine has stopped: {kind.__name__}"
    assert sequence.state is State.ENDED
    with pytest.raises(Unavailable, match="the engine has stopped"):
        engine.add(ask())


def test_a_closed_engine_has_freed_everything_and_takes_nothing(tmp_path: Path) -> None:
    own = load(save_gpt2(tmp_path), dtype="float32", max_running=2)
    engine = Engine(own, max_running=2)
    running = [ask(tokens=90, seed=seed) for seed in range(3)]
    for each in running:
        engine.add(each)
    engine.step()
    engine.close()
    engine.close()
    assert engine.statistics()["kv_bytes"] == 0
    assert [each.state for each in running] == [State.ENDED] * 3
    with pytest.raises(Unavailable, match="closed"):
        engine.add(ask())
    second = Engine(own, max_running=2)
    second.add(ask())
    assert second.step()


def test_a_step_that_hangs_is_a_problem(
    runner: NativeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Slow(Faulty):
        def decode(self, sequences: Many[Sequence]) -> Row:
            seen.append(engine.problem())
            monkeypatch.setattr("minivault.engine.engine.HANGS_AFTER", -1.0)
            seen.append(engine.problem())
            return super().decode(sequences)

    engine = Engine(Slow(runner))
    engine.add(ask())
    engine.step()
    assert seen[0] is None
    assert "more than" in str(seen[1])
    assert engine.problem() is None


def test_freed_slots_give_their_memory_back(runner: NativeRunner) -> None:
    engine = Engine(runner)
    sequence = ask(length=200)
    engine.add(sequence)
    for _ in range(4):
        engine.step()
    slot = sequence.cache.index
    assert runner._decoder.cache.part(slot, 0, 128).any()
    engine.cancel(sequence)
    engine.step()
    assert not runner._decoder.cache.part(slot, 64, 128).any()
