"""Functions that come to the same bits on every machine.

Libraries' own differ in the last bit from one processor or system to the next. These take no more
of them than what IEEE 754 fixes (sums, products, quotients, roots), or decimal arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_DIGITS = Context(prec=40)
# π/2 in parts of 33 bits, which whole numbers below 2^20 multiply exactly, and the rest.
_HALF_PI = 1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21
# ln 2 in two parts, the first of 33 bits.
_LN_2 = 0.693147180369123816490, 1.90821492927058770002e-10


def logarithm(x: float) -> float:
    """ln x."""
    return float(Decimal(x).ln(_DIGITS))


def powers(base: float, exponents: Doubles) -> Doubles:
    """base^exponent for each."""
    exact = Decimal(base)
    return np.array([float(_DIGITS.power(exact, Decimal(each))) for each in exponents.tolist()])


def exponentials(x: Doubles) -> Doubles:
    """e^x for x <= 0; 0 below -708. Taylor's series after taking out powers of two."""
    x = np.where(x < -708, -np.inf, x)
    n = np.where(x < -708, 0.0, np.rint(x * 1.4426950408889634))
    r = x - n * _LN_2[0] - n * _LN_2[1]
    return np.where(x < -708, 0.0, np.ldexp(_series(r, range(1, 14)), n.astype(np.int32)))


def cosines_and_sines(angles: Doubles) -> tuple[Doubles, Doubles]:
    """Of angles up to a million, in radians; to 15 digits."""
    n = np.rint(angles / (_HALF_PI[0] + _HALF_PI[1]))
    r = angles - n * _HALF_PI[0] - n * _HALF_PI[1] - n * _HALF_PI[2]
    squares = -r * r
    cosine = _series(squares, [n * (n + 1) for n in range(1, 15, 2)])
    sine = r * _series(squares, [n * (n + 1) for n in range(2, 16, 2)])
    quarter = n.astype(np.int64) & 3
    turned = [np.where(quarter & 1, sine, cosine), np.where(quarter & 1, cosine, sine)]
    signs = [np.where((quarter + 1) & 2, -1.0, 1.0), np.where(quarter & 2, -1.0, 1.0)]
    return turned[0] * signs[0], turned[1] * signs[1]


def _series(x: Doubles, divisors: Sequence[int]) -> Doubles:
    """1 + x/d₁ · (1 + x/d₂ · (…))."""
    found = np.ones_like(x)
    for divisor in reversed(divisors):
        found *= x
        found *= 1 / divisor
        found += 1
    return found
