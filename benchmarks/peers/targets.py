"""What the engine is to reach: times the speed of llama.cpp, and a share of what memory allows."""

from __future__ import annotations

FIGURES = (
    "1 at once",
    "8 at once",
    "16 at once",
    "prefill 512",
    "prefill 2000",
    "8 at once after 2000",
)

_FOUR_BITS = (1.3, 2.2, 2.0, 1.9, 2.2, 2.5)
_RATIOS = {
    "float32": (1.1, 1.5, 1.1, 1.3, 1.5, 1.3),
    "bfloat16": (1.1, 1.6, 1.3, 1.3, 1.6, 2.2),
    "int8": (1.15, 2.3, 2.3, 2.1, 2.2, 2.2),
    "Q4_0": _FOUR_BITS,
    "Q4_1": _FOUR_BITS,
    "Q4_K_M": _FOUR_BITS,
}


def ratio(width: str, figure: str, *, avx2: bool) -> float | None:
    """With the same file and threads; both built for AVX2, nobody is to be slower."""
    if figure not in FIGURES:
        return None
    return 1.0 if avx2 else _RATIOS[width][FIGURES.index(figure)]


def share(width: str) -> float:
    """Of the speed at which the weights could be read once for each token of one text."""
    return 0.6 if width.startswith("Q4") else 0.75
