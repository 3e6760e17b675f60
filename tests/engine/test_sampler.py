"""The sampler draws what a plain reference draws, row by row."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine import sampler
from minivault.engine.likeliest import Odds, Row, likeliest
from minivault.engine.native import library
from minivault.engine.native.decoder import Decoder
from minivault.engine.sequence import SamplingParams, Sequence
from tests.engine.gpt2_models import load, make_sequence, save_gpt2

VOCABULARY = 1500


def reference(row: Row, held: list[int], params: SamplingParams, step: int) -> int:
    """One token, in the plainest way: whole vocabulary sorted, one number after the other."""
    logits = row.copy()
    for token in set(held):
        value, penalty = logits[token], np.float32(params.repetition_penalty)
        logits[token] = value / penalty if value > 0 else value * penalty
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if params.temperature == 0:
        return order[0]
    exact = logits.astype(np.float64)
    odds = np.array([math.exp(each) for each in (exact - exact.max()) / params.temperature])
    if params.top_k:
        order = order[: params.top_k]
        whole = odds[order].cumsum()[-1]
    elif params.top_p < 1:
        whole = odds.sum()
    else:
        order = sorted(order)
    if params.top_p < 1:
        order = cut(order, odds, params.top_p * whole)
    return drawn(order, odds, sampler.uniform(params.seed, step))


def cut(order: list[int], odds: Odds, enough: float) -> list[int]:
    total = 0.0
    for count, token in enumerate(order):
        total += float(odds[token])
        if total >= enough:
            return order[: count + 1]
    return order


def drawn(order: list[int], odds: Odds, number: float) -> int:
    total = 0.0
    for token in order:
        total += float(odds[token])
    mark, reached = number * total, 0.0
    for token in order:
        reached += float(odds[token])
        if reached > mark:
            return token
    return order[-1]


def logits(seed: int, rows: int, step: float) -> Row:
    """Random logits in steps of `step`, so that ties are frequent where it is large."""
    values = np.random.default_rng(seed).normal(0, 3, (rows, VOCABULARY))
    return (np.round(values / step) * step).astype(np.float32)


params = st.builds(
    SamplingParams,
    max_tokens=st.just(9),
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 4, 5, 50, 1499, 1500, 3000]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01, 1e-9]),
    repetition_penalty=st.sampled_from([1.0, 1.1, 2.0]),
    seed=st.integers(0, 2**53 - 1),
)


@cache
def native_model() -> Decoder:
    folder = save_gpt2(Path(mkdtemp(prefix="minivault-test-")), vocab_size=VOCABULARY)
    model = load(folder, threads=3)._decoder
    assert isinstance(model, Decoder)
    return model


@given(
    every=st.lists(params, min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    step=st.sampled_from([1.0, 0.5, 1e-3]),
    made=st.integers(0, 5),
)
def test_every_row_draws_what_the_plain_reference_draws(
    every: list[SamplingParams], seed: int, step: float, made: int
) -> None:
    table = logits(seed, len(every), step)
    sequences = [holding([row, 7, 7, 1499], made, each) for row, each in enumerate(every)]
    expected = [
        reference(row, [*each.prompt, *each.generated], each.params, made)
        for row, each in zip(table, sequences, strict=True)
    ]
    assert sampled(table.copy(), sequences) == expected
    native = table.copy()
    assert drawn_natively(native, sequences) == expected
    assert np.array_equal(native, table)


def test_a_row_with_what_is_no_number_draws_nothing() -> None:
    table = logits(1, 3, 1e-3)
    table[1, 7] = np.nan
    for some in (SamplingParams(9, temperature=0), SamplingParams(9, top_k=5), SamplingParams(9)):
        sequences = [make_sequence([row], some) for row in range(3)]
        for found in (sampled(table.copy(), sequences), drawn_natively(table, sequences)):
            assert [token < 0 for token in found] == [False, True, False]


def sampled(table: Row, sequences: list[Sequence]) -> list[int]:
    return [sampler.sample(row, each) for row, each in zip(table, sequences, strict=True)]


def drawn_natively(table: Row, sequences: list[Sequence]) -> list[int]:
    """The tokens that the C files draw from these logits; sequence n has slot n."""
    model = native_model()
    for slot, each in enumerate(sequences):
        model.begin(slot, each)
        tokens = [*each.prompt, *each.generated]
        model._history[slot, : len(tokens)] = tokens
    last = [len(each.prompt) + len(each.generated) - 1 for each in sequences]
    model._place([0] * len(sequences), range(len(sequences)), last)
    addresses = (
        library.ffi.cast(f"{kind} *", where)
        for kind, where in (
            ("float", table.ctypes.data),
            ("struct place", model._places.ctypes.data),
            ("int32_t", model._tokens.ctypes.data),
        )
    )
    model._library.team_wake(model._team)
    model._library.draw_run(model._team, model._draw, *addresses, len(sequences))
    model._library.team_rest(model._team)
    drawn: list[int] = model._tokens[: len(sequences)].tolist()
    return drawn


def holding(prompt: list[int], made: int, each: SamplingParams) -> Sequence:
    sequence = make_sequence(prompt, each)
    sequence.generated = list(range(20, 20 + made))
    return sequence


def test_top_k_takes_the_smaller_token_id_of_a_tie() -> None:
    row = np.zeros(VOCABULARY, np.float32)
    assert likeliest(row, 3).tolist() == [0, 1, 2]
    row[[5, 200, 70]] = 1
    assert likeliest(row, 4).tolist() == [5, 70, 200, 0]


def test_draws_follow_the_distribution() -> None:
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    counts = np.zeros(4)
    for seed in range(4000):
        some = SamplingParams(max_tokens=1, temperature=1, seed=seed)
        counts[sampler.draw(row, some, seed % 7)] += 1
    expected = 4000 * np.exp(row)
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3  # chi-square, p = 0.001


def test_numbers_depend_on_seed_and_step_alone_and_are_spread() -> None:
    numbers = [sampler.uniform(seed, step) for seed in range(40) for step in range(40)]
    assert len(set(numbers)) == 1600
    assert all(0 <= number < 1 for number in numbers)
    assert abs(float(np.mean(numbers)) - 0.5) < 0.03
    assert sampler.uniform(2**53 - 1, 10**6) == sampler.uniform(2**53 - 1, 10**6)


def test_numbers_are_those_of_splitmix64() -> None:
    """The first outputs for state 0, from the reference implementation by S. Vigna."""
    assert sampler._mix(0) == 0xE220A8397B1DCDAF
    assert sampler._mix(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


def test_log_probabilities_are_the_models_own() -> None:
    row = logits(3, 1, 1e-3)[0]
    found = sampler.choice(row, 17, 5)
    exact = row.astype(np.float64)
    whole = math.log(sum(math.exp(each) for each in exact))
    assert math.isclose(found.logprob, exact[17] - whole, abs_tol=1e-9)
    assert [token for token, _ in found.top] == np.argsort(-row, kind="stable")[:5].tolist()
    assert [each for _, each in found.top] == sorted((e for _, e in found.top), reverse=True)


def test_a_bias_and_penalties_on_the_text_come_first() -> None:
    row = np.array([0.0, 1.0, 2.0, 3.0], np.float32)

    def best(generated: list[int], **params: Any) -> int:
        sequence = sequence_of([0, 3], generated, temperature=0.0, **params)
        [natively] = sampler.redrawn([3], [row.copy()], [sequence])
        assert sampler.sample(row.copy(), sequence) == natively
        return natively

    assert best([], logit_bias=((3, -1.5), (9, 100.0))) == 2
    assert best([3], presence_penalty=1.5) == 2
    assert best([3, 3], frequency_penalty=0.6) == 2
    assert best([3], frequency_penalty=0.6) == 3
    assert best([], frequency_penalty=2.0, presence_penalty=2.0) == 3  # not of the prompt


def test_min_p_leaves_out_what_is_far_less_likely_than_the_best() -> None:
    row = np.log(np.array([0.5, 0.26, 0.2, 0.04], np.float32))
    for min_p, kept in ((0.0, 4), (0.2, 3), (0.45, 2), (0.9, 1)):
        drawn = {
            sampler.sample(row.copy(), sequence_of([0], [], seed=seed, min_p=min_p))
            for seed in range(200)
        }
        assert drawn == set(range(kept))


def sequence_of(prompt: list[int], generated: list[int], **params: Any) -> Sequence:
    sequence = make_sequence(prompt, SamplingParams(max_tokens=8, **params))
    sequence.generated += generated
    return sequence
