"""Which arithmetic a build keeps to, found by what it makes of small decoders.

`portable-1` is the same on every machine: one order of sums, fused multiply-add, exponentials of
our own, and nothing that rounds as one processor alone does. What stands here is its definition: if
a change of the C files changes an answer, that is another arithmetic, with another number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from minivault.engine.native.library import constants, ffi, new_team

PORTABLE = "portable-1"

NOT_PORTABLE = (
    "this machine cannot run the portable arithmetic (its processor has no fused multiply-add, or "
    "its compiler is at fault): texts are the same on machines of its kind alone"
)

#: The answers of portable arithmetic, by `enum kind`.
ANSWERS = (
    0x8BF45B66739BA70F,
    0xC735F65977EDD2AA,
    0x27DCF269752AE91E,
    0x2B1FB1A482021946,
    0x074D0ACFE4BDC742,
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
    """`portable-1` if products of these kinds keep to it, else a name of this machine's own."""
    if all(found[kind] == ANSWERS[kind] for kind in kinds):
        return PORTABLE
    own = 0
    for kind in sorted(kinds):
        own = (own * 31 + found[kind]) % 2**64
    return f"{'fastest' if fastest else 'own'}-{own:016x}"
