"""Which arithmetic a build keeps to, found by what it makes of small decoders.

Portable arithmetic is the same on every machine: one order of sums, fused multiply-add,
exponentials of our own, and nothing that rounds as one processor alone does. What stands here is
its definition: if a change of the C files changes an answer, that is another arithmetic, with
another number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from minivault.engine.native.compiler import Build
from minivault.engine.native.library import constants, ffi, loaded, new_team

PORTABLE = ("portable-1", "portable-3", "portable-2", "portable-2", "portable-2")
"""Its names, by `enum kind`. The first one multiplied bfloat16 with floats, and kept keys as that
where weights are whole numbers."""

NOT_PORTABLE = (
    "this machine cannot run the portable arithmetic (its processor has no fused multiply-add, or "
    "its compiler is at fault): texts are the same on machines of its kind alone"
)

WITHOUT_PAIRS = (
    "this processor's own product of bfloat16 does not come to the bits that it should, so the "
    "kernels do without it: texts are the same, and take longer"
)

#: The answers of portable arithmetic, by `enum kind`.
ANSWERS = (
    0x8BF45B66739BA70F,
    0x8E8A2B12A0F185CE,
    0xE2DFDB949FD42D6C,
    0xA648FE5EC0BB7B88,
    0x30818487843D3BAD,
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """A build, its functions, and what they make of the small decoders."""

    build: Build
    functions: Any
    answers: tuple[int, ...]
    notice: str | None = None
    """What is slower in products of bfloat16 than it could be, and why."""


def kernels(target: tuple[str, ...] | None, threads: int) -> Kernels:
    """For `target`, see `compiler.build`. Raises NoKernels.

    The processor's own product of bfloat16 is taken where it comes to the right answers.
    """
    first = _built(target, threads)
    if first.answers == ANSWERS or not first.functions.check_pairs():
        return first
    without = _built(target, threads, pairs=False)
    return replace(without, notice=WITHOUT_PAIRS) if _right(without) > _right(first) else first


def _built(target: tuple[str, ...] | None, threads: int, *, pairs: bool = True) -> Kernels:
    build, functions = loaded(target, pairs=pairs)
    return Kernels(build, functions, answers(functions, threads))


def _right(found: Kernels) -> int:
    return sum(map(int.__eq__, found.answers, ANSWERS))


@cache
def answers(functions: Any, threads: int) -> tuple[int, ...]:
    """Of a build, for every kind of weights; see check.h. Takes milliseconds, once."""
    found = ffi.new("uint64_t[]", constants.CHECKS)
    team = new_team(functions, threads)
    failed = functions.check_run(team, threads, found)
    functions.team_free(team)
    if failed:
        raise MemoryError("no room for a check of the arithmetic")
    return tuple(found)


def name(found: Sequence[int], kinds: Collection[int]) -> str:
    """The portable one's if products of these kinds keep to it, else one of this machine's own."""
    if all(found[kind] == ANSWERS[kind] for kind in kinds):
        return max(PORTABLE[kind] for kind in kinds)
    own = 0
    for kind in sorted(kinds):
        own = (own * 31 + found[kind]) % 2**64
    return f"own-{own:016x}"
