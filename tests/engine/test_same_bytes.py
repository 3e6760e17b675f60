"""A seed gives the same tokens whatever runs beside it, in whatever order, cache or batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine.engine import Engine
from minivault.engine.likeliest import Row
from minivault.engine.native import prefix_cache
from minivault.engine.native.numbers import Array
from minivault.engine.native.runner import ROW_COSTS, NativeRunner
from minivault.engine.sequence import Output, SamplingParams, Sequence, State
from tests.engine.gpt2_models import (
    STORYTELLER,
    load,
    make_sequence,
    random_prompt,
    save_gpt2,
)
from tests.tools import FULL

Said = list[tuple[str, int | None, object, object]]
SAMPLED = SamplingParams(
    max_tokens=12, temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.1, top_logprobs=2
)


@cache
def small_model() -> Path:
    return save_gpt2(Path(mkdtemp(prefix="minivault-test-")))


@cache
def runner_for(dtype: str) -> NativeRunner:
    return load(small_model(), dtype=dtype, threads=3, prefix_memory=2**20)


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request of a random company."""

    seed: int
    length: int
    tokens: int
    greedy: bool = False

    def sequence(self) -> Sequence:
        temperature = 0.0 if self.greedy else SAMPLED.temperature
        params = dataclasses.replace(
            SAMPLED, seed=self.seed, max_tokens=self.tokens, temperature=temperature
        )
        return make_sequence(random_prompt(self.seed, self.length), params)


def said_by(outputs: Iterable[Output]) -> Said:
    return [(each.text, each.token_id, each.choice, each.finish) for each in outputs]


def run(runner: NativeRunner, arrivals: list[list[Ask]], max_running: int = 32) -> dict[Ask, Said]:
    """What each one says; `arrivals` come step by step."""
    engine = Engine(runner, max_running=max_running, kv_memory=2**30)
    asked: dict[Sequence, Ask] = {}
    outputs: list[Output] = []
    for newcomers in arrivals:
        for ask in newcomers:
            sequence = ask.sequence()
            asked[sequence] = ask
            engine.add(sequence)
        outputs += engine.step()
    while engine.busy:
        outputs += engine.step()
    engine.close()
    assert not [each.error for each in outputs if each.error]
    return {
        ask: said_by(each for each in outputs if each.sequence is sequence)
        for sequence, ask in asked.items()
    }


@cache
def alone(dtype: str, ask: Ask) -> Said:
    """What it says alone, in a runner that never held anything else."""
    fresh = load(small_model(), dtype=dtype)
    return run(fresh, [[ask]])[ask]


asks = st.builds(
    Ask,
    seed=st.integers(0, 5),
    length=st.sampled_from([1, 2, 40, 64, 65, 66, 129, 140, 200]),
    tokens=st.integers(1, 12),
    greedy=st.booleans(),
)
DTYPES = ["float32", "bfloat16", "int8"]
every_width = pytest.mark.parametrize("dtype", DTYPES)
companies = st.lists(st.lists(asks, max_size=12), min_size=1, max_size=5)


@every_width
@settings(max_examples=60 if FULL else 6)
@given(arrivals=companies, places=st.sampled_from([1, 3, 32]))
def test_a_text_does_not_depend_on_its_company(
    dtype: str, arrivals: list[list[Ask]], places: int
) -> None:
    found = run(runner_for(dtype), arrivals, places)
    for ask, said in found.items():
        assert said == alone(dtype, ask)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES if FULL else ["bfloat16"])
def test_the_storyteller_says_the_same_among_thirty_two(dtype: str) -> None:
    runner = load(STORYTELLER, dtype=dtype, threads=2, prefix_memory=2**26)
    company = [Ask(seed, 1 + 11 * seed, 10 + seed) for seed in range(32)]
    together = run(runner, [[each] for each in company])
    turned = run(runner, [company[::-1]])
    fresh = load(STORYTELLER, dtype=dtype)
    for ask in company[::5]:
        expected = run(fresh, [[ask]])[ask]
        assert together[ask] == expected
        assert turned[ask] == expected


def test_a_warm_prefix_cache_changes_nothing_and_is_used() -> None:
    runner = load(small_model(), dtype="float32", prefix_memory=2**24)
    ask = Ask(seed=1, length=200, tokens=12)
    cold = run(runner, [[ask]])[ask]
    assert runner.statistics()["prefix_hits"] == 0
    warm = run(runner, [[ask]])[ask]
    assert runner.statistics()["prefix_hits"] == 199, (
        "all but the last, which the first is drawn from"
    )
    assert warm == cold == alone("float32", ask)


def test_two_runners_with_one_and_two_slots_agree() -> None:
    ask, other = Ask(seed=2, length=70, tokens=12), Ask(seed=3, length=20, tokens=5)
    narrow = load(small_model(), dtype="float32", max_running=2)
    assert run(narrow, [[other, ask]], max_running=2)[ask] == alone("float32", ask)


def spoken(runner: NativeRunner, *sequences: Sequence) -> None:
    engine = Engine(runner)
    for each in sequences:
        engine.add(each)
    while engine.busy:
        engine.step()


@every_width
def test_the_next_turn_of_a_conversation_computes_what_is_new_alone(dtype: str) -> None:
    """Prompts and answers of any length, drawn in company; another caller finds nothing of it."""
    runner = load(small_model(), dtype=dtype, prefix_memory=2**24)
    prompt = random_prompt(0, 20)
    fresh = len(prompt)
    for turn, (made, asked) in enumerate([(50, 12), (9, 1), (2, 64), (20, 3), (1, 1)]):
        params = dataclasses.replace(SAMPLED, max_tokens=made)
        said = make_sequence(prompt, params)
        before = runner.statistics()["prefix_misses"]
        spoken(runner, said)
        assert runner.statistics()["prefix_misses"] - before == fresh
        prompt = [*prompt, *said.generated, *random_prompt(turn, asked)]
        fresh = 1 + asked  # the last token that was drawn is never computed by whoever drew it
    assert len(prompt) > 2 * prefix_cache.CHUNK
    found = []
    for group in ("", "another"):
        before = runner.statistics()["prefix_hits"]
        said, other = make_sequence(prompt, SAMPLED), make_sequence(random_prompt(9, 99), SAMPLED)
        said.group = other.group = group
        spoken(runner, other, said)
        hits = runner.statistics()["prefix_hits"] - before
        assert hits == (0 if group else len(prompt) - fresh)
        found.append(said.generated)
    cold = make_sequence(prompt, SAMPLED)
    spoken(load(small_model(), dtype=dtype), cold)
    assert found == [cold.generated] * 2


def test_the_next_turn_of_the_last_text_finds_its_chunks_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of a text that another has ended after are copied. No slot is lost to it."""
    runner = load(small_model(), dtype="float32", prefix_memory=2**24, max_running=2)
    one, other = random_prompt(5, 200), random_prompt(6, 200)
    params = dataclasses.replace(SAMPLED, max_tokens=1)
    spoken(runner, make_sequence(one, params))
    spoken(runner, make_sequence(other, params))
    copied = []
    cache = runner._decoder.cache
    part = cache.part

    def counted(slot: int, begin: int, end: int) -> Array:
        copied.append(begin)
        return part(slot, begin, end)

    found = []
    for prompt, copies in ((one, [0, 64, 128, 192]), (other, [192])):
        monkeypatch.setattr(cache, "part", counted)
        copied.clear()
        next_turn = make_sequence([*prompt, 7], SAMPLED)
        runner.prefill(next_turn)
        assert copied == copies
        monkeypatch.undo()
        found.append(next_turn)
    with pytest.raises(IndexError):
        runner.prefill(make_sequence(one, SAMPLED))
    for each in found:
        runner.release(each)
    fresh = make_sequence([*one, 8, 9], SAMPLED), make_sequence([*other, 8, 9], SAMPLED)
    for each in fresh:
        runner.prefill(each)


def test_texts_that_part_share_what_they_begin_with() -> None:
    """To the token, whether they part within a whole chunk or after it."""
    runner, cold = (load(small_model(), dtype="float32", prefix_memory=n) for n in (2**24, 0))
    first = random_prompt(1, 150)
    spoken(runner, make_sequence(first, SAMPLED))
    for shared in (1, 63, 64, 65, 100, 149):
        prompt = [*first[:shared], 9 if first[shared] != 9 else 8, *random_prompt(shared, 70)]
        before = runner.statistics()["prefix_hits"]
        texts = [make_sequence(prompt, SAMPLED) for _ in "ab"]
        spoken(runner, texts[0])
        spoken(cold, texts[1])
        assert runner.statistics()["prefix_hits"] - before == shared
        assert texts[0].generated == texts[1].generated


def test_of_one_conversation_each_token_is_kept_once_and_the_bound_holds() -> None:
    """Up to a block of 16 tokens, which is the least that can be copied."""
    runner = load(small_model(), dtype="float32", prefix_memory=2**24)
    prompt = random_prompt(4, 5)
    for turn in range(40):
        said = make_sequence(prompt, dataclasses.replace(SAMPLED, max_tokens=3))
        spoken(runner, said)
        prompt = [*prompt, *said.generated, turn]
        blocks = -(-(len(prompt) - 2) // 16)
        assert runner.statistics()["prefix_bytes"] == 16 * blocks * runner.kv_bytes_per_token
    bound = 10 * 16 * runner.kv_bytes_per_token
    runner = load(small_model(), dtype="float32", prefix_memory=bound)
    for turn in range(40):
        spoken(runner, make_sequence(random_prompt(turn % 7, 3 + 3 * turn), SAMPLED))
        assert 0 < runner.statistics()["prefix_bytes"] <= bound


def test_a_prompt_that_nobody_else_waits_for_is_prefilled_in_fours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = load(small_model(), dtype="float32")
    parts: list[int] = []
    prefill = runner._decoder.prefill

    def counted(slot: int, begin: int, tokens: Sequence) -> None:
        parts.append(len(tokens))  # type: ignore[arg-type]
        prefill(slot, begin, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._decoder, "prefill", counted)
    ask, other = Ask(seed=1, length=240, tokens=2), Ask(seed=2, length=200, tokens=9)
    assert run(runner, [[ask]])[ask] == alone("float32", ask)
    assert parts == [239]
    parts.clear()
    found = run(runner, [[other], [], [], [ask]])
    assert parts == [199, 64, 64, 64]
    assert found[ask] == alone("float32", ask)


def repeating(seed: int, length: int) -> list[int]:
    """A prompt that says the same again and again, so that much of what follows is guessed."""
    return (random_prompt(seed, 9) * length)[:length]


@every_width
@pytest.mark.parametrize("count", [1, 3, 12])
def test_guessing_ahead_changes_no_token_and_no_probability(dtype: str, count: int) -> None:
    """Greedy and drawn, with an end in the middle of what was guessed, among others, cancelled."""
    guesses = load(small_model(), dtype=dtype, prefix_memory=2**22)
    plain = load(small_model(), dtype=dtype, speculates=False)

    def said(runner: NativeRunner, cancel: bool = False) -> list[Said]:
        sequences = [
            make_sequence(
                repeating(n % 4, 70 + n),
                dataclasses.replace(
                    SAMPLED,
                    seed=n,
                    max_tokens=60 if n > 1 else 90,  # two are left in the end
                    temperature=0.2 * (n % 3),
                    top_k=4 * (n % 3),
                    top_logprobs=2 * (n % 2),  # the logits of the others are not kept
                ),
            )
            for n in range(count)
        ]
        engine = Engine(runner, end_ids=frozenset({17, 18}))
        outputs: list[Output] = []
        for each in sequences:
            engine.add(each)
        while engine.busy:
            outputs += engine.step()
            if cancel and len(sequences[0].generated) >= 7:
                engine.cancel(sequences[0])
        return [said_by(each for each in outputs if each.sequence is one) for one in sequences]

    expected = said(plain)
    assert said(guesses) == expected
    figures = guesses.statistics()
    assert 0 < figures["accepted"] <= figures["drafted"]
    assert plain.statistics()["drafted"] == 0
    assert said(guesses, cancel=True)[1:] == expected[1:]
    assert said(guesses) == expected


@pytest.mark.parametrize("count, guessed", [(1, True), (2, True), (3, False)])
def test_nothing_is_guessed_where_many_run(count: int, guessed: bool) -> None:
    runner = load(small_model(), dtype="float32")
    engine = Engine(runner)
    texts = [
        make_sequence(repeating(1, 60), SamplingParams(60, temperature=0)) for _ in "a" * count
    ]
    for each in texts:
        engine.add(each)
    while not all(each.generated for each in texts):
        engine.step()
    before = runner.statistics()["drafted"]
    for _ in range(20):
        engine.step()
    assert (runner.statistics()["drafted"] > before) == guessed
    assert sum(each.drafted for each in texts) == runner.statistics()["drafted"]
    assert sum(each.accepted for each in texts) == runner.statistics()["accepted"]


def test_a_step_says_all_that_was_guessed_rightly_of_each_text() -> None:
    """A text that is ahead does not wait for the others; the tokens of each come in order."""
    engine = Engine(load(small_model(), dtype="float32"))
    texts = [make_sequence(repeating(n, 60), SamplingParams(60, temperature=0)) for n in (1, 2)]
    for each in texts:
        engine.add(each)
    heard: list[list[int]] = [[], []]
    most = 0
    while engine.busy:
        outputs = engine.step()
        most = max(most, len(outputs))
        for output in outputs:
            if output.token_id is not None:
                heard[texts.index(output.sequence)].append(output.token_id)
        assert heard == [each.generated for each in texts]
        assert not any(each.cache and each.cache.ahead for each in texts)
    assert most > 2


def test_guesses_share_the_rows_of_a_step_and_make_way_for_a_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = load(small_model(), dtype="float32")
    drawn, rows = runner._decoder.draw, []

    def draw(*arguments: Any) -> tuple[list[int], Row]:
        rows.append(arguments[-1])
        return drawn(*arguments)

    monkeypatch.setattr(runner._decoder, "draw", draw)
    engine = Engine(runner)
    texts = [make_sequence(repeating(n, 60), SamplingParams(90, temperature=0)) for n in (1, 2)]
    for each in texts:
        engine.add(each)
    while len(texts[0].generated) < 30:
        engine.step()
    assert 2 < max(rows) <= len(ROW_COSTS)
    newcomer = make_sequence(random_prompt(5, 250), SamplingParams(1, temperature=0))
    engine.add(newcomer)
    rows.clear()
    while newcomer.state is not State.ENDED:
        engine.step()
    assert len(rows) > 2
    assert set(rows) == {2, 3}
