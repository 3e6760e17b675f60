"""Which arithmetic a build keeps to, found by what it makes of small decoders.

Portable arithmetic is the same on every machine: one order of sums, fused multiply-add,
exponentials of our own, and nothing that rounds as one processor alone does. What stands here is
its definition: if a change of the C files changes an answer, that is another arithmetic, with
another number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from minivault.engine.native.library import constants, ffi, new_team

PORTABLE = ("portable-1", "portable-1", "portable-2", "portable-2", "portable-2")
"""Its names, by `enum kind`. Of whole numbers the first one kept keys as bfloat16."""

NOT_PORTABLE = (
    "this machine cannot run the portable arithmetic (its processor has no fused multiply-add, or "
    "its compiler is at fault): texts are the same on machines of its kind alone"
)

#: The answers of portable arithmetic, by `enum kind`.
ANSWERS = (
    0x8BF45B66739BA70F,
    0xC735F65977EDD2AA,
    0xE2DFDB949FD42D6C,
    0xA648FE5EC0BB7B88,
    0x30818487843D3BAD,
)


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


def name(found: Sequence[int], kinds: Collection[int], *, fastest: bool) -> str:
    """The portable one's if products of these kinds keep to it, else one of this machine's own."""
    if all(found[kind] == ANSWERS[kind] for kind in kinds):
        return max(PORTABLE[kind] for kind in kinds)
    own = 0
    for kind in sorted(kinds):
        own = (own * 31 + found[kind]) % 2**64
    return f"{'fastest' if fastest else 'own'}-{own:016x}"
