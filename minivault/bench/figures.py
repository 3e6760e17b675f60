"""Turns the moments at which tokens came into the figures of one measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True, slots=True)
class Wave:
    """Some requests at once: when each of their pieces came, in seconds since the wave began.

    `tokens` and `seconds` are of the whole wave, to the last token of the last request. `texts` are
    what was said, where it was read.
    """

    arrivals: tuple[tuple[float, ...], ...]
    tokens: int
    seconds: float
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """The medians over some waves; times in milliseconds."""

    at_once: int
    tokens_per_second: float
    first_token_p50: float
    first_token_p95: float
    between_p50: float
    between_p95: float


def figures(waves: Sequence[Wave]) -> Figures:
    """Speed is the median of the waves'; times are percentiles over all their requests."""
    arrivals = [each for wave in waves for each in wave.arrivals if each]
    first = [each[0] for each in arrivals]
    between = [after - before for each in arrivals for before, after in pairwise(each)]
    return Figures(
        at_once=len(waves[0].arrivals),
        tokens_per_second=round(median(wave.tokens / wave.seconds for wave in waves), 1),
        first_token_p50=_ms(first, 50),
        first_token_p95=_ms(first, 95),
        between_p50=_ms(between, 50),
        between_p95=_ms(between, 95),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed (nearest rank)."""
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, int(rank) - 1)]


def _ms(seconds: Sequence[float], percent: float) -> float:
    return round(percentile(seconds, percent) * 1000, 2) if seconds else 0.0
