"""Draws the next token of a row of logits, where the C files do not: in the transformers runner.

Order: bias, constraint, repetition penalty (over prompt and text, arXiv:1909.05858), frequency and
presence penalties (over the text alone), temperature, top-k with ties by token id, top-p
(arXiv:1904.09751), min-p (arXiv:2407.01082). Wide passes only compare, select and scale single
numbers, which is exact; sums are made in float64 over the row's own tokens, always in the same
order. So a seed draws the same from the same logits here and in native/draw.c, and a test holds the
two together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minivault.engine.exact import exponentials, logarithm
from minivault.engine.likeliest import Ids, Odds, Row, likeliest
from minivault.engine.sequence import SamplingParams, Sequence, TokenChoice

_FIRST_CUT = 1024  # without top-k, top-p looks at so many of the likeliest before it sorts all
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def sample(row: Row, sequence: Sequence) -> int:
    """The next token of a sequence; what steers it changes the row in place.

    -1 if it holds what is no number.
    """
    for token, bias in sequence.params.logit_bias:
        if token < len(row):
            row[token] += np.float32(bias)
    if sequence.constraint:
        sequence.constraint.apply(row)
    if sequence.params.repetition_penalty != 1:
        penalize(row, sequence.tokens(), np.float32(sequence.params.repetition_penalty))
    own = sequence.own  # not what was forced
    subtract(row, sequence.params, own)
    is_cut = sequence.constraint is not None
    return draw(row, sequence.params, len(own), is_cut=is_cut)


def redrawn(tokens: Iterable[int], rows: Iterable[Row], sequences: Iterable[Sequence]) -> list[int]:
    """What the C files drew, and what is drawn here for those that they cannot draw for."""
    return [
        token if token < 0 or each.is_plain else sample(row.copy(), each)
        for token, row, each in zip(tokens, rows, sequences, strict=True)
    ]


def choice(row: Row, token: int, count: int) -> TokenChoice:
    """The log probabilities of one token and of the `count` likeliest."""
    exact = row.astype(np.float64)
    exact -= exact.max()
    exact -= logarithm(float(exponentials(exact).cumsum()[-1]))
    top = likeliest(row, count) if count else ()
    return TokenChoice(token, float(exact[token]), tuple((int(i), float(exact[i])) for i in top))


def penalize(row: Row, known: Ids, penalty: np.float32) -> None:
    """Makes tokens that a sequence has already less likely, in place."""
    found = row[known]
    row[known] = np.where(found > 0, found / penalty, found * penalty)


def subtract(row: Row, params: SamplingParams, generated: list[int]) -> None:
    """The frequency and presence penalties, in place."""
    if generated and (params.frequency_penalty or params.presence_penalty):
        ids, counts = np.unique(np.array(generated, np.intp), return_counts=True)
        row[ids] -= (counts * params.frequency_penalty + params.presence_penalty).astype(np.float32)


def draw(row: Row, params: SamplingParams, step: int, *, is_cut: bool = False) -> int:
    """One token of one row; -1 if it holds what is no number. `is_cut`: some are impossible."""
    if np.isnan(row.max()):
        return -1
    if params.temperature == 0:
        return int(row.argmax())
    ids, odds = _candidates(row, params)
    if is_cut:  # rounding takes the last candidate, which must not be one of them
        ids, odds = ids[odds > 0], odds[odds > 0]
    if params.min_p:
        likely = odds >= params.min_p * odds.max()
        ids, odds = ids[likely], odds[likely]
    sums = odds.cumsum()
    mark = uniform(params.seed, step) * sums[-1]
    return int(ids[min(int((sums <= mark).sum()), len(sums) - 1)])


def uniform(seed: int, step: int) -> float:
    """A number in [0, 1) for this seed and step alone.

    SplitMix64 (Steele, Lea, Flood 2014: Fast splittable pseudorandom number generators), counted
    from the mixed seed; the upper 53 bits.
    """
    return (_mix(_mix(seed) + step * _GOLDEN) >> 11) * 2.0**-53


def _mix(number: int) -> int:
    number = (number + _GOLDEN) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


def _candidates(row: Row, params: SamplingParams) -> tuple[Ids, Odds]:
    """Token ids that may be drawn, and their odds; likeliest first if a cut was made."""
    if params.top_k:
        ids = likeliest(row, params.top_k)
        odds = _odds(row[ids], params.temperature)
        kept = _reaching(odds, params.top_p, odds.cumsum()[-1])
        return ids[:kept], odds[:kept]
    odds = _odds(row, params.temperature)
    if params.top_p == 1:
        return np.arange(len(row)), odds
    # The likeliest that together reach `top_p` are seldom more than a thousand.
    whole = odds.sum()
    for count in (_FIRST_CUT, len(row)):
        ids = likeliest(row, count)
        kept = _reaching(odds[ids], params.top_p, whole)
        if kept <= len(ids):
            break
    return ids[:kept], odds[ids[:kept]]


def _reaching(odds: Odds, top_p: float, whole: np.float64) -> int:
    """How many of these it takes to reach a share of the whole; one more if all do not."""
    return int((odds.cumsum() < top_p * whole).sum()) + 1 if top_p < 1 else len(odds)


def _odds(row: Row, temperature: float) -> Odds:
    exact = row.astype(np.float64)
    odds: Odds = np.exp((exact - exact.max()) / temperature)
    return odds
